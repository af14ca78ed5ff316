//! Features: which levels this version of Ottla can work with, and whether one may follow another.
//!
//! The finalized levels are part of the cluster's state ([`ClusterImage::features`](super::ClusterImage::features)); a
//! feature at level 0 is not among them. Source: `FeatureControlManager`, `QuorumFeatures`, `Feature` of Apache Kafka 4.3.1.
//! There, no level of the features below asks for a level of another one, beyond what every metadata version has.
//!
//! What a command may do must not depend on what the version that applies it supports: [`refusal_to_support`] is asked
//! before a command is made, [`refusal_to_follow`] when it is applied.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::apply::{Refusal, refuse};
use crate::model::{BrokerId, ErrorCode};

/// Whether replicas that left while too few were in sync may lead (KIP-966): since level 1. At level 0 whoever was the last in
/// sync stays so, dead or alive.
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";
/// Consumer groups of KIP-848: since level 1.
pub const GROUP_VERSION: &str = "group.version";
/// Whether voters are added and removed while the cluster runs (KIP-853): since level 1. At level 0 they are those of
/// `controller.quorum.voters`.
pub const KRAFT_VERSION: &str = "kraft.version";
/// How Apache Kafka writes its metadata. Here it only says which version a cluster is like.
pub const METADATA_VERSION: &str = "metadata.version";
/// How transactions work: flexible records in their log since level 1, an epoch of its own for each since level 2 (KIP-890).
pub const TRANSACTION_VERSION: &str = "transaction.version";

/// A feature, and the levels of it that this version of Ottla can work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    /// Its name.
    pub name: &'static str,
    /// The lowest level.
    pub min: i16,
    /// The highest level, which new clusters begin with, but for [`KRAFT_VERSION`]: that depends on their configuration.
    pub max: i16,
}

/// All features, by name.
pub const SUPPORTED: [SupportedFeature; 5] = [
    SupportedFeature { name: ELIGIBLE_LEADER_REPLICAS_VERSION, min: 0, max: 1 },
    SupportedFeature { name: GROUP_VERSION, min: 0, max: 1 },
    SupportedFeature { name: KRAFT_VERSION, min: 0, max: 1 },
    // From 3.3-IV3 to 4.3-IV0.
    SupportedFeature { name: METADATA_VERSION, min: 7, max: 30 },
    SupportedFeature { name: TRANSACTION_VERSION, min: 0, max: 2 },
];

/// What a feature's level may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Not a lower one.
    Upgrade,
    /// Not a higher one, and only if nothing is lost.
    SafeDowngrade,
    /// Not a higher one, whatever is lost.
    UnsafeDowngrade,
}

impl Direction {
    /// The direction with this number in the protocol (`FeatureUpdate.UpgradeType`).
    #[must_use]
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Upgrade),
            2 => Some(Self::SafeDowngrade),
            3 => Some(Self::UnsafeDowngrade),
            _ => None,
        }
    }
}

/// A level that a feature is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureUpdate {
    /// The level. At 0 the feature is off.
    pub level: i16,
    /// Where it may lie.
    pub direction: Direction,
}

/// The finalized features of a new cluster, or of one that was Apache Kafka's with the features `found`: that keeps its
/// levels, as far as they are supported, but for the version of the metadata, which is written anew.
#[must_use]
pub fn initial(found: &BTreeMap<String, i16>) -> BTreeMap<String, i16> {
    let level = |feature: &SupportedFeature| {
        if feature.name == KRAFT_VERSION {
            return feature.min;
        }
        if found.is_empty() || feature.name == METADATA_VERSION {
            return feature.max;
        }
        found
            .get(feature.name)
            .map_or(feature.min, |level| *level.clamp(&feature.min, &feature.max))
    };
    let levels = SUPPORTED.iter().map(|feature| (feature.name.to_owned(), level(feature)));
    levels.filter(|(_, level)| *level > 0).collect()
}

/// Refuses a level that this version cannot work with. `controller` is the node that says so.
///
/// # Errors
/// A [`Refusal`] with INVALID_UPDATE_VERSION.
pub fn refusal_to_support(name: &str, level: i16, controller: BrokerId) -> Result<(), Refusal> {
    if level < 0 {
        return refuse_level(name, level, "A feature version cannot be less than 0.");
    }
    let Some(feature) = SUPPORTED.iter().find(|feature| feature.name == name) else {
        let reason = format!("Local controller {controller} does not support this feature.");
        return refuse_level(name, level, &reason);
    };
    if !(feature.min..=feature.max).contains(&level) {
        let (min, max) = (feature.min, feature.max);
        let reason = format!("Local controller {controller} only supports versions {min}-{max}");
        return refuse_level(name, level, &reason);
    }
    Ok(())
}

/// Refuses a level that may not follow `present`.
///
/// # Errors
/// A [`Refusal`] with INVALID_UPDATE_VERSION.
pub fn refusal_to_follow(name: &str, present: i16, update: FeatureUpdate) -> Result<(), Refusal> {
    let FeatureUpdate { level, direction } = update;
    if level < present && direction == Direction::Upgrade {
        let reason = "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                      unsafe downgrade.";
        return refuse_level(name, level, reason);
    }
    if level > present && direction != Direction::Upgrade {
        return refuse_level(name, level, "Can't downgrade to a newer version.");
    }
    if name == KRAFT_VERSION && level < present {
        return refuse_level(name, level, "Can't downgrade the version of this feature.");
    }
    if name == METADATA_VERSION && level < present {
        // Each of the versions knows records that the one before it does not.
        let reason = match direction {
            Direction::UnsafeDowngrade => {
                "Unsafe metadata downgrade is not supported in this version."
            }
            Direction::Upgrade | Direction::SafeDowngrade => {
                "Refusing to perform the requested downgrade because it might delete metadata information."
            }
        };
        let message =
            format!("Unsupported metadata.version downgrade from {present} to {level}. {reason}");
        return refuse(ErrorCode::InvalidUpdateVersion, message);
    }
    Ok(())
}

/// Refuses a level for this reason.
///
/// # Errors
/// Always: that is what it gives.
pub fn refuse_level<T>(name: &str, level: i16, reason: &str) -> Result<T, Refusal> {
    let message = format!("Invalid update version {level} for feature {name}. {reason}");
    refuse(ErrorCode::InvalidUpdateVersion, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTIONS: [Direction; 3] =
        [Direction::Upgrade, Direction::SafeDowngrade, Direction::UnsafeDowngrade];

    #[test]
    fn levels_follow_each_other_as_asked() {
        for (level, allowed) in
            [(0, [false, true, true]), (1, [true; 3]), (2, [true, false, false])]
        {
            let follow = |direction| {
                refusal_to_follow(TRANSACTION_VERSION, 1, FeatureUpdate { level, direction })
            };
            assert_eq!(DIRECTIONS.map(|direction| follow(direction).is_ok()), allowed, "{level}");
        }
        let metadata = |level, direction| {
            refusal_to_follow(METADATA_VERSION, 29, FeatureUpdate { level, direction }).is_ok()
        };
        assert_eq!(DIRECTIONS.map(|direction| metadata(28, direction)), [false; 3]);
        assert_eq!(DIRECTIONS.map(|direction| metadata(29, direction)), [true; 3]);
        assert_eq!(DIRECTIONS.map(|direction| metadata(30, direction)), [true, false, false]);
        let voters = |present, level, direction| {
            refusal_to_follow(KRAFT_VERSION, present, FeatureUpdate { level, direction }).is_ok()
        };
        assert_eq!(DIRECTIONS.map(|direction| voters(0, 1, direction)), [true, false, false]);
        assert_eq!(DIRECTIONS.map(|direction| voters(1, 0, direction)), [false; 3]);
    }

    #[test]
    fn what_is_not_supported_is_refused_in_kafkas_words() {
        let refused = |name, level| {
            let refusal = refusal_to_support(name, level, BrokerId(1)).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::InvalidUpdateVersion);
            refusal.message
        };
        assert_eq!(
            refused(TRANSACTION_VERSION, 3),
            "Invalid update version 3 for feature transaction.version. Local controller 1 only supports versions 0-2"
        );
        assert_eq!(
            refused("nothing.version", 1),
            "Invalid update version 1 for feature nothing.version. Local controller 1 does not support this feature."
        );
        assert_eq!(
            refused(GROUP_VERSION, -1),
            "Invalid update version -1 for feature group.version. A feature version cannot be less than 0."
        );
        refused(METADATA_VERSION, 6);
        refusal_to_support(METADATA_VERSION, 7, BrokerId(1)).unwrap();
    }

    #[test]
    fn a_cluster_that_was_kafkas_keeps_its_levels() {
        let levels = |found: &[(&str, i16)]| {
            let found = found.iter().map(|(name, level)| ((*name).to_owned(), *level)).collect();
            initial(&found).into_values().collect::<Vec<_>>()
        };
        assert_eq!(levels(&[]), [1, 1, 30, 2]);
        let eligible = (ELIGIBLE_LEADER_REPLICAS_VERSION, 1);
        assert_eq!(levels(&[eligible, (METADATA_VERSION, 30)]), [1, 30]);
        assert_eq!(levels(&[(METADATA_VERSION, 21), (TRANSACTION_VERSION, 1)]), [30, 1]);
        assert_eq!(levels(&[(METADATA_VERSION, 30), (GROUP_VERSION, 9)]), [1, 30]);
    }
}
