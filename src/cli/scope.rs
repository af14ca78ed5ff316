//! Some partitions of a topic as people write them: `TOPIC`, or `TOPIC:0,1`.

use crate::client::Metadata;
use crate::model::PartitionId;

/// A topic, or some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) topic: String,
    /// All that there are if none are named.
    partitions: Option<Vec<PartitionId>>,
}

impl Scope {
    /// # Errors
    /// In words, when what is behind the colon are no partitions.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (topic, list) = match text.split_once(':') {
            Some((topic, list)) => (topic, Some(list)),
            None => (text, None),
        };
        let index = |index: &str| {
            let known = index.parse().ok().filter(|index| *index >= 0);
            known.map(PartitionId).ok_or_else(|| format!("'{index}' in '{text}' is no partition"))
        };
        let partitions = list.map(|list| list.split(',').map(index).collect::<Result<_, _>>());
        Ok(Self { topic: topic.to_owned(), partitions: partitions.transpose()? })
    }

    /// Its partitions in a cluster; those that are named may not be there.
    pub(super) fn partitions(&self, metadata: &Metadata) -> Vec<(String, PartitionId)> {
        let known = metadata.topic(&self.topic).into_iter().flat_map(|topic| &topic.partitions);
        let all = || known.map(|partition| partition.index).collect();
        let indexes = self.partitions.clone().unwrap_or_else(all);
        indexes.into_iter().map(|index| (self.topic.clone(), index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_or_some_of_its_partitions() {
        let named = |partitions| Scope { topic: "t".to_owned(), partitions };
        assert_eq!(Scope::parse("t"), Ok(named(None)));
        let some = Some(vec![PartitionId(0), PartitionId(12)]);
        assert_eq!(Scope::parse("t:0,12"), Ok(named(some)));
        assert_eq!(Scope::parse("t:0,x"), Err("'x' in 't:0,x' is no partition".to_owned()));
        assert!(Scope::parse("t:").is_err() && Scope::parse("t:-1").is_err());
    }
}
