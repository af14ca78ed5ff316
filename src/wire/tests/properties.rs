//! What holds for random well-formed bodies of every message and version, and for broken ones.
//!
//! A case takes all messages and versions through one piece of entropy.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::all_messages;
use super::sample::{Tags, sample};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The gate, the decoder and the encoder see the same fields in the same order.
    #[test]
    fn bodies_without_tagged_fields_come_back_byte_for_byte(entropy in vec(any::<u8>(), 0..600)) {
        for message in all_messages() {
            for version in message.versions() {
                let body = sample(message.shape, version, &entropy, Tags::None).body;
                let name = message.name;
                (message.check)(version, &body).unwrap();
                let again = (message.rewrite)(version, body.clone()).unwrap();
                prop_assert_eq!(again, body, "{} v{}", name, version);
            }
        }
    }

    /// Tagged fields change nothing: what was read, written and read again is equal, and the gate lets all of it in.
    #[test]
    fn bodies_with_tagged_fields_keep_their_values(entropy in vec(any::<u8>(), 0..600)) {
        for message in all_messages() {
            for version in message.versions() {
                for tags in [Tags::Known, Tags::KnownAndUnknown] {
                    let body = sample(message.shape, version, &entropy, tags).body;
                    let name = message.name;
                    (message.check)(version, &body).unwrap();
                    let again = (message.rewrite)(version, body.clone()).unwrap();
                    (message.check)(version, &again).unwrap();
                    prop_assert!((message.survives)(version, body), "{} v{}", name, version);
                }
            }
        }
    }

    /// Bytes after the last field are ignored; with one byte less the last field is missing.
    #[test]
    fn a_body_ends_where_it_ends(entropy in vec(any::<u8>(), 0..80)) {
        for message in all_messages() {
            for version in message.versions() {
                let body = sample(message.shape, version, &entropy, Tags::KnownAndUnknown).body;
                let more = Bytes::from([&body[..], b"more"].concat());
                (message.check)(version, &more).unwrap();
                prop_assert_eq!(
                    (message.rewrite)(version, more).unwrap(),
                    (message.rewrite)(version, body.clone()).unwrap()
                );
                for length in 0..body.len() {
                    let less = body.slice(..length);
                    prop_assert!((message.check)(version, &less).is_err());
                    prop_assert!((message.rewrite)(version, less).is_err());
                }
            }
        }
    }

    /// The gate and the decoders agree on broken bodies too, and none of them panics.
    #[test]
    fn broken_bodies_are_judged_alike(
        entropy in vec(any::<u8>(), 0..300),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for message in all_messages() {
            for version in message.versions() {
                let sample = sample(message.shape, version, &entropy, Tags::KnownAndUnknown);
                let mut body = BytesMut::from(&sample.body[..]);
                for (index, byte) in &changes {
                    if !body.is_empty() {
                        let index = index.index(body.len());
                        body[index] = *byte;
                    }
                }
                let body = body.freeze();
                prop_assert_eq!(
                    (message.check)(version, &body).is_ok(),
                    (message.rewrite)(version, body).is_ok(),
                    "{} v{}",
                    message.name,
                    version
                );
            }
        }
    }
}
