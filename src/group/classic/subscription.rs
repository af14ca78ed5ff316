//! What a consumer says in the protocol type `consumer`, as far as the coordinator reads it.
//!
//! The metadata of a member, in any version (those only add to the end):
//!
//! | field | type |
//! |---|---|
//! | version | i16, not negative |
//! | topics | i32 count, then strings with i16 lengths |
//! | user data | i32 length or -1, bytes |

use std::collections::BTreeSet;

/// Adds the topics that these bytes subscribe to. None if the bytes are no subscription.
pub(super) fn add_topics(metadata: &[u8], topics: &mut BTreeSet<Box<str>>) -> Option<()> {
    let mut rest = metadata;
    let version = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
    if version < 0 {
        return None;
    }
    let count = i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    for _ in 0..u32::try_from(count).ok()? {
        let length = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        let name = std::str::from_utf8(take(&mut rest, usize::try_from(length).ok()?)?).ok()?;
        topics.insert(name.into());
    }
    let user_data = i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?);
    take(&mut rest, usize::try_from(user_data.max(0)).ok()?)?;
    Some(())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}
