//! From errors to the protocol's codes, in one place and by exhaustive match.

use crate::coordinator::CoordinatorError;
use crate::log::{AppendError, ReadError};
use crate::model::ErrorCode;
use crate::replica::PartitionError;
use crate::txn::MarkerError;
use crate::wire::Text;

/// The words for a code that has none of its own in a response.
pub(super) fn text(code: ErrorCode) -> Option<Text> {
    Some(Text::from_string(code.to_string()))
}

/// The code for an error of a partition.
pub(super) fn code(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Gone => ErrorCode::UnknownTopicOrPartition,
        PartitionError::NotLeader => ErrorCode::NotLeaderOrFollower,
        PartitionError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        PartitionError::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        PartitionError::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        PartitionError::NotEnoughReplicasAfterAppend { .. } => {
            ErrorCode::NotEnoughReplicasAfterAppend
        }
        PartitionError::OffsetNotAvailable => ErrorCode::OffsetNotAvailable,
        PartitionError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        PartitionError::NotDeletable => ErrorCode::PolicyViolation,
        PartitionError::Offline(_) => ErrorCode::KafkaStorageError,
        PartitionError::Append(error) => append_code(error),
        PartitionError::Read(error) => read_code(error),
    }
}

/// The code for a coordinator that did not answer.
pub(super) const fn coordinator_code(error: CoordinatorError) -> ErrorCode {
    match error {
        CoordinatorError::NotCoordinator => ErrorCode::NotCoordinator,
        CoordinatorError::LoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        CoordinatorError::NotAvailable => ErrorCode::CoordinatorNotAvailable,
        CoordinatorError::TooLarge => ErrorCode::UnknownServerError,
        CoordinatorError::FencedProducer => ErrorCode::InvalidProducerEpoch,
        CoordinatorError::FencedCoordinator => ErrorCode::TransactionCoordinatorFenced,
        CoordinatorError::NoTransaction => ErrorCode::InvalidTxnState,
    }
}

/// The code for a marker that was not written.
pub(super) fn marker_code(error: &MarkerError) -> ErrorCode {
    match error {
        MarkerError::NoPartition => ErrorCode::UnknownTopicOrPartition,
        // Transaction coordinators do not expect that a partition has a coordinator of its own.
        MarkerError::Groups(
            CoordinatorError::NotCoordinator
            | CoordinatorError::LoadInProgress
            | CoordinatorError::NotAvailable,
        ) => ErrorCode::NotLeaderOrFollower,
        MarkerError::Groups(error) => coordinator_code(*error),
        MarkerError::Partition(error) => code(error),
        MarkerError::Unanswered => ErrorCode::NotLeaderOrFollower,
        MarkerError::Refused(code) => *code,
    }
}

fn append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::FencedProducer { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::FencedCoordinator { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendError::OpenTransaction { .. } | AppendError::NotVerified { .. } => {
            ErrorCode::InvalidTxnState
        }
        AppendError::InvalidControl { .. } => ErrorCode::InvalidRecord,
        AppendError::NotAtEnd { .. } | AppendError::EpochFalls { .. } => ErrorCode::InvalidRequest,
        AppendError::NoSpace { .. } | AppendError::Io { .. } | AppendError::Closed => {
            ErrorCode::KafkaStorageError
        }
    }
}

fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Io { .. } | ReadError::Damaged { .. } => ErrorCode::KafkaStorageError,
    }
}
