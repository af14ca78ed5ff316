//! Producer ids: taken from the controller by the block, given out one by one.

use std::ops::Range;

use tokio::sync::Mutex;

use super::context::RequestContext;
use crate::cluster::{Applied, Command, PRODUCER_ID_BLOCK};
use crate::model::{ErrorCode, ProducerId};

/// The producer ids that this broker may still give out. An id is never given twice, by any broker at any time: blocks are
/// taken from the metadata log, and what is left of one is lost at a restart.
#[derive(Debug, Default)]
pub struct ProducerIds {
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// The next id. Dropping the future loses nothing but, perhaps, a block.
    pub(super) async fn next(&self, context: &RequestContext) -> Result<ProducerId, ErrorCode> {
        let mut block = self.block.lock().await;
        if let Some(id) = block.next() {
            return Ok(ProducerId(id));
        }
        let command = Command::AllocateProducerIds {
            broker: context.services.broker,
            broker_epoch: context.services.broker_epoch,
        };
        let outcomes = context.propose(vec![command]).await?;
        match outcomes.into_iter().next() {
            Some(Ok(Applied::ProducerIds(first))) => {
                *block = first + 1..first + PRODUCER_ID_BLOCK;
                Ok(ProducerId(first))
            }
            Some(Err(refusal)) => Err(refusal.code),
            other => unreachable!("an allocation gave {other:?}"),
        }
    }
}
