//! Who may do what: the question that handlers ask.
//!
//! Owns the words of the question, which are Kafka's, and the answer of a broker without ACLs: everybody may do everything.

use std::fmt;

/// Decides who may do what. Handlers ask it through `RequestContext::authorize`, and nobody else does.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether this principal (such as `User:ANONYMOUS`) may do this.
    fn allows(&self, principal: &str, operation: Operation, resource: Resource<'_>) -> bool;
}

/// Everybody may do everything.
#[derive(Clone, Copy, Debug)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn allows(&self, _: &str, _: Operation, _: Resource<'_>) -> bool {
        true
    }
}

/// What somebody may be allowed to do (`AclOperation` of Kafka's clients).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Read records, or offsets of a group.
    Read,
    /// Append records.
    Write,
    /// Create topics.
    Create,
    /// Delete topics, records or groups.
    Delete,
    /// Change partitions, or what else is no config.
    Alter,
    /// Learn that it exists and what state it is in.
    Describe,
    /// What brokers do among themselves.
    ClusterAction,
    /// Read configs.
    DescribeConfigs,
    /// Change configs.
    AlterConfigs,
    /// Get a producer id.
    IdempotentWrite,
}

/// What somebody may be allowed to do it to, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A group.
    Group(&'a str),
    /// A transactional id.
    TransactionalId(&'a str),
    /// The cluster as a whole.
    Cluster,
}

impl Operation {
    /// Its number in sets of operations.
    pub(super) const fn code(self) -> u32 {
        match self {
            Self::Read => 3,
            Self::Write => 4,
            Self::Create => 5,
            Self::Delete => 6,
            Self::Alter => 7,
            Self::Describe => 8,
            Self::ClusterAction => 9,
            Self::DescribeConfigs => 10,
            Self::AlterConfigs => 11,
            Self::IdempotentWrite => 12,
        }
    }
}

impl Resource<'_> {
    /// The operations that exist for such a resource (`AclEntry.supportedOperations`).
    pub(super) const fn operations(self) -> &'static [Operation] {
        use Operation as O;
        match self {
            Self::Topic(_) => &[
                O::Read,
                O::Write,
                O::Create,
                O::Describe,
                O::Delete,
                O::Alter,
                O::DescribeConfigs,
                O::AlterConfigs,
            ],
            Self::Group(_) => {
                &[O::Read, O::Describe, O::Delete, O::DescribeConfigs, O::AlterConfigs]
            }
            Self::TransactionalId(_) => &[O::Describe, O::Write],
            Self::Cluster => &[
                O::Create,
                O::ClusterAction,
                O::DescribeConfigs,
                O::AlterConfigs,
                O::IdempotentWrite,
                O::Alter,
                O::Describe,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(resource: Resource<'_>) -> i32 {
        resource.operations().iter().fold(0, |set, operation| set | 1 << operation.code())
    }

    #[test]
    fn sets_of_operations_are_kafkas() {
        // As a broker of Apache Kafka 4.3.1 without an authorizer answers them.
        assert_eq!(set(Resource::Topic("t")), 3576);
        assert_eq!(set(Resource::Cluster), 8096);
    }
}
