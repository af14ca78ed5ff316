//! The names in groups, as long-lived values: they own their text, while the text of a request keeps its frame alive.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::wire::Text;

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The text for a message.
            #[must_use]
            pub fn to_text(&self) -> Text {
                Text::from_string(self.as_str().to_owned())
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_newtype! {
    /// The name of a group.
    GroupId
}

text_newtype! {
    /// Identifies a member of a group as long as it lives. Given by the coordinator, or chosen by the client (KIP-1082).
    MemberId
}

text_newtype! {
    /// `group.instance.id`: identifies a static member over restarts of its process (KIP-345).
    InstanceId
}
