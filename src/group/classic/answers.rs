//! The answers to members.

use std::sync::Arc;

use bytes::Bytes;

use super::ClassicGroup;
use crate::group::command::Reply;
use crate::group::{InstanceId, MemberId};
use crate::model::ErrorCode;
use crate::wire::Text;
use crate::wire::messages::join_group_response::JoinGroupResponseMember;
use crate::wire::messages::{HeartbeatResponse, JoinGroupResponse, SyncGroupResponse};

/// A copy for a message.
pub(super) fn text(value: &str) -> Text {
    Text::from_string(value.to_owned())
}

fn nullable_text(value: Option<&Arc<str>>) -> Option<Text> {
    value.map(|value| text(value))
}

/// JoinGroup, refused. `member` is the id to go on with.
#[must_use]
pub fn join_refused(member: &str, error: ErrorCode) -> Reply {
    let mut response = JoinGroupResponse::default();
    response.member_id = text(member);
    response.error_code = error.code();
    Reply::JoinGroup(response)
}

/// SyncGroup, refused.
#[must_use]
pub fn sync_refused(error: ErrorCode) -> Reply {
    let mut response = SyncGroupResponse::default();
    response.error_code = error.code();
    Reply::SyncGroup(response)
}

/// Heartbeat.
#[must_use]
pub fn heartbeat(error: ErrorCode) -> Reply {
    let mut response = HeartbeatResponse::default();
    response.error_code = error.code();
    Reply::Heartbeat(response)
}

impl ClassicGroup {
    /// JoinGroup of a member of the generation in force, without the list of members.
    pub(super) fn joined(&self, member: &MemberId) -> JoinGroupResponse {
        let mut response = JoinGroupResponse::default();
        response.member_id = member.to_text();
        response.generation_id = self.generation;
        response.protocol_type = nullable_text(self.protocol_type.as_ref());
        response.protocol_name = nullable_text(self.protocol.as_ref());
        response.leader = self.members.leader().map(MemberId::to_text).unwrap_or_default();
        response
    }

    /// The members, for the one that makes the assignment.
    pub(super) fn members_for_leader(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let describe = |(id, member): (&MemberId, &super::members::Member)| {
            let mut described = JoinGroupResponseMember::default();
            described.member_id = id.to_text();
            described.group_instance_id = member.instance.as_ref().map(InstanceId::to_text);
            described.metadata = member.metadata(protocol);
            described
        };
        self.members.iter().map(describe).collect()
    }

    /// SyncGroup with an assignment of the generation in force.
    pub(super) fn synced(&self, assignment: Bytes) -> Reply {
        let mut response = SyncGroupResponse::default();
        response.protocol_type = nullable_text(self.protocol_type.as_ref());
        response.protocol_name = nullable_text(self.protocol.as_ref());
        response.assignment = assignment;
        Reply::SyncGroup(response)
    }
}
