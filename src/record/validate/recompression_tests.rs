//! A topic's own codec: the records stay what they are.

use std::ops::ControlFlow;

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};

use super::tests::{NOW, rules};
use super::*;
use crate::record::{BatchBuilder, visit_records};

fn any_codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

fn batch(codec: Compression, values: &[Vec<u8>]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(NOW, Some(b"key"), Some(value));
    }
    builder.compression(codec).build()
}

/// The batch as it is appended.
fn written(valid: &ValidBatch) -> Bytes {
    [&valid.header().to_bytes()[..], valid.payload()].concat().into()
}

fn values(batch: &[u8]) -> Vec<Vec<u8>> {
    let mut values = Vec::new();
    visit_records(batch, |record| {
        values.push(record.value.unwrap().to_vec());
        ControlFlow::Continue(())
    })
    .unwrap();
    values
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_come_out_in_the_topics_codec(
        from in any_codec(),
        to in any_codec(),
        lz4_level in 1..=17,
        sizes in proptest::collection::vec(0..40_000_usize, 1..8),
        byte in any::<u8>(),
    ) {
        let sent: Vec<_> = sizes.iter().map(|size| vec![byte; *size]).collect();
        let sent_batch = batch(from, &sent);
        let level = (to == Compression::Lz4).then_some(lz4_level);
        let recompression = Some(Recompression { codec: to, level });
        let valid = validate(&sent_batch, &Rules { recompression, ..rules() }, NOW).unwrap();
        let written = written(&valid);
        let header = BatchHeader::parse(&written).unwrap();
        header.check_crc(&written).unwrap();
        prop_assert_eq!(header.compression(), to);
        prop_assert_eq!(header.size_bytes() as usize, written.len());
        prop_assert_eq!(values(&written), sent);
        if from == to {
            prop_assert_eq!(written, sent_batch);
        }
    }
}

#[test]
fn levels_count() {
    let text: Vec<u8> = (0..60_000_u32).flat_map(|i| (i * i % 977).to_le_bytes()).collect();
    let sent = batch(Compression::None, &[text]);
    let size = |codec, level| {
        let recompression = Some(Recompression { codec, level: Some(level) });
        validate(&sent, &Rules { recompression, ..rules() }, NOW).unwrap().payload().len()
    };
    assert!(size(Compression::Gzip, 9) < size(Compression::Gzip, 1));
    assert_eq!(size(Compression::Gzip, -1), size(Compression::Gzip, 6), "the default");
    let [fast, least, most] = [9, 1, 17].map(|level| size(Compression::Lz4, level));
    assert!(most < least && least < fast, "{fast}, {least}, {most}");
    assert_eq!(size(Compression::Lz4, 12), most, "there are no more");
    assert!(size(Compression::Zstd, 19) < size(Compression::Zstd, -50));
}

#[test]
fn what_is_too_large_in_the_topics_codec_is_refused() {
    let sent = batch(Compression::Zstd, &[vec![7; 100_000]]);
    let recompression = Some(Recompression { codec: Compression::None, level: None });
    let rules = |batch_bytes_max| Rules { recompression, batch_bytes_max, ..rules() };
    let size = validate(&sent, &rules(200_000), NOW).unwrap().header().size_bytes();
    assert!(validate(&sent, &rules(size), NOW).is_ok());
    for batch_bytes_max in [size - 1, 10_000] {
        let refused = validate(&sent, &rules(batch_bytes_max), NOW).unwrap_err();
        assert_eq!(refused.error, ErrorCode::MessageTooLarge, "{batch_bytes_max}");
    }
}
