//! What administrators see of a group.

use super::answers::text;
use super::{ClassicGroup, State};
use crate::group::InstanceId;
use crate::wire::Text;
use crate::wire::messages::WireGroupId;
use crate::wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::wire::messages::list_groups_response::ListedGroup;

/// The name of the type, as the protocol has it.
const TYPE_NAME: &str = "classic";

impl ClassicGroup {
    /// The group with its members. What they said about the protocol is only shown while the group is stable.
    #[must_use]
    pub fn describe(&self) -> DescribedGroup {
        let shown = match self.state {
            State::Stable => self.protocol.as_deref(),
            State::Empty | State::PreparingRebalance | State::CompletingRebalance => None,
        };
        let mut described = DescribedGroup::default();
        described.group_id = WireGroupId(self.id.to_text());
        described.group_state = Text::from_static_str(self.state.name());
        described.protocol_type = text(self.protocol_type.as_deref().unwrap_or_default());
        described.protocol_data = text(shown.unwrap_or_default());
        described.members = self
            .members
            .iter()
            .map(|(id, member)| {
                let mut one = DescribedGroupMember::default();
                one.member_id = id.to_text();
                one.group_instance_id = member.instance.as_ref().map(InstanceId::to_text);
                one.client_id = text(&member.client_id);
                one.client_host = text(&member.client_host);
                one.member_metadata =
                    shown.map(|protocol| member.metadata(protocol)).unwrap_or_default();
                one.member_assignment = member.assignment.clone();
                one
            })
            .collect();
        described
    }

    /// The group in a list.
    #[must_use]
    pub fn list(&self) -> ListedGroup {
        let mut listed = ListedGroup::default();
        listed.group_id = WireGroupId(self.id.to_text());
        listed.protocol_type = text(self.protocol_type.as_deref().unwrap_or_default());
        listed.group_state = Text::from_static_str(self.state.name());
        listed.group_type = Text::from_static_str(TYPE_NAME);
        listed
    }
}
