//! Topics that a broker makes at its start: the typed view of `ottla.create.topics`.
//!
//! The form is that of the variable `KAFKA_CREATE_TOPICS` of the images that had it: `name:partitions:replicas:policy` each,
//! several between commas, of which all but the name may be left out.

use super::layers::Layers;
use crate::model::TopicName;

/// A topic to make, if it is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartTopic {
    /// Its name.
    pub name: TopicName,
    /// Its partitions; none means `num.partitions`.
    pub partitions: Option<u16>,
    /// Its replicas; none means `default.replication.factor`.
    pub replicas: Option<i16>,
    /// Its `cleanup.policy`, if it has one of its own.
    pub cleanup_policy: Option<String>,
}

impl StartTopic {
    /// Reads a list; none if it is not one.
    pub(super) fn parse_all(text: &str) -> Option<Vec<Self>> {
        let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        items.map(Self::parse).collect()
    }

    fn parse(item: &str) -> Option<Self> {
        let mut parts = item.split(':').map(str::trim);
        let name = TopicName::new(parts.next()?).ok()?;
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let partitions = next().map(|count| count.parse().ok().filter(|count| *count > 0));
        let replicas = next().map(|count| count.parse().ok().filter(|count| *count > 0));
        let policy = next().map(|policy| {
            let known = ["delete", "compact", "compact,delete", "delete,compact"];
            known.contains(&policy).then(|| policy.to_owned())
        });
        if parts.next().is_some() {
            return None;
        }
        // What is written has to be right.
        let (partitions, replicas) = (optional(partitions)?, optional(replicas)?);
        Some(Self { name, partitions, replicas, cleanup_policy: optional(policy)? })
    }
}

/// `Some(None)` if nothing was written, `None` if it was wrong.
#[expect(clippy::option_option, reason = "the outer one is for what is wrong")]
fn optional<T>(written: Option<Option<T>>) -> Option<Option<T>> {
    match written {
        None => Some(None),
        Some(None) => None,
        Some(read) => Some(read),
    }
}

impl Layers<'_> {
    pub(super) fn start_topics(self) -> Vec<StartTopic> {
        let set = self.text("ottla.create.topics");
        set.and_then(|text| StartTopic::parse_all(&text)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_images_took_is_taken() {
        let read = |text| {
            let topics = StartTopic::parse_all(text)?;
            let show = |topic: &StartTopic| {
                let StartTopic { name, partitions, replicas, cleanup_policy } = topic;
                format!("{name} {partitions:?} {replicas:?} {cleanup_policy:?}")
            };
            Some(topics.iter().map(show).collect::<Vec<_>>())
        };
        let all =
            |topics: &[&str]| Some(topics.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            read("a:3:1:compact, b ,c::2\nd:1,"),
            all(&[
                "a Some(3) Some(1) Some(\"compact\")",
                "b None None None",
                "c None Some(2) None",
                "d Some(1) None None",
            ])
        );
        assert_eq!(read(""), all(&[]));
        for wrong in ["a b", "a:0", "a:x", "a:1:0", "a:1:1:keep", "a:1:1:compact:x", ":1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
