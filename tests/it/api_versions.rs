//! ApiVersions: what is served is what is listed, and unknown versions are answered as Kafka answers them.

use ottla::model::ErrorCode;
use ottla::wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use ottla::wire::{ApiEntry, Text};
use tokio::io::AsyncWriteExt as _;

use crate::rig::Rig;

fn request(name: &'static str, version: &'static str) -> ApiVersionsRequest {
    let mut request = ApiVersionsRequest::default();
    request.client_software_name = Text::from_static_str(name);
    request.client_software_version = Text::from_static_str(version);
    request
}

#[tokio::test]
async fn what_is_served_is_listed_and_nothing_else() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    for version in 0..=4 {
        let answer: ApiVersionsResponse = client.call(version, &request("test", "1.0")).await;
        assert_eq!(answer.error_code, 0);
        let listed: Vec<_> = answer
            .api_keys
            .iter()
            .map(|api| (api.api_key, api.min_version, api.max_version))
            .collect();
        let for_brokers = ApiEntry::ALL.iter().filter(|entry| entry.key.is_for_brokers());
        let served = for_brokers.filter_map(|entry| {
            entry.listed().map(|range| (entry.key.code(), range.min, range.max))
        });
        assert_eq!(listed, served.collect::<Vec<_>>());
        assert!(listed.contains(&(0, 0, 13)), "Produce is listed from 0");
        if version >= 3 {
            let finalized = &answer.finalized_features;
            assert!(
                finalized.iter().any(|feature| &*feature.name == "metadata.version"),
                "{finalized:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_version_is_answered_in_version_0() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    for version in [5_i16, 100, i16::MAX, -1] {
        let mut frame = Vec::new();
        frame.extend_from_slice(&18_i16.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&7_i32.to_be_bytes());
        frame.extend_from_slice(&(-1_i16).to_be_bytes());
        if version >= 3 {
            frame.push(0); // No tagged fields in the header.
        }
        frame.extend_from_slice(b"whatever a later version has");
        client.stream.write_all(&(frame.len() as i32).to_be_bytes()).await.unwrap();
        client.stream.write_all(&frame).await.unwrap();
        let answer = client.frame().await.unwrap();
        // Correlation id, error 35, one entry: key 18, versions 0 to 4.
        assert_eq!(&answer[..], [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4], "{version}");
    }
    let answer: ApiVersionsResponse = client.call(3, &request("test", "1.0")).await;
    assert_eq!(answer.error_code, 0, "the connection goes on");
}

#[tokio::test]
async fn software_names_that_are_none_are_refused() {
    let rig = Rig::new().await;
    let mut client = rig.client().await;
    for (name, version) in [("", "1"), ("a b", "1"), ("a", "-1")] {
        let answer: ApiVersionsResponse = client.call(3, &request(name, version)).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code(), "{name} {version}");
        assert!(answer.api_keys.is_empty());
    }
}
