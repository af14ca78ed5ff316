//! What the special bounds of the tables accept.

use crate::config::advertised::External;
use crate::config::http::HttpListener;
use crate::config::start_topics::StartTopic;
use crate::config::value::Value;

/// Kafka's `CompressionType.GZIP`: a level of zlib, or -1 for its default.
pub(super) fn is_gzip_level(value: &Value) -> bool {
    value.as_integer().is_some_and(|level| level == -1 || (1..=9).contains(&level))
}

/// A share of a waiting time.
pub(super) fn is_jitter(value: &Value) -> bool {
    matches!(value, Value::Double(jitter) if (0.0..=0.5).contains(jitter))
}

/// Kafka's `QuorumConfig.parseVoterConnections`: `id@host:port` each.
pub(super) fn are_voters(value: &Value) -> bool {
    all(value, |voter| {
        voter
            .split_once('@')
            .is_some_and(|(id, server)| id.parse::<i32>().is_ok() && is_server(server))
    })
}

/// Kafka's `QuorumConfig.parseBootstrapServer`: `host:port` each.
pub(super) fn are_servers(value: &Value) -> bool {
    all(value, is_server)
}

/// Kafka's `ThrottledReplicaListValidator`: `*` alone, or `partition:broker` each, or nothing.
pub(super) fn are_replicas(value: &Value) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    matches!(value, Value::List(items) if items.concat() == "*")
        || all(value, |replica| {
            replica.is_empty()
                || replica
                    .split_once(':')
                    .is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
        })
}

/// Kafka's `ShareGroupAutoOffsetResetStrategy`.
pub(super) fn is_offset_reset(value: &Value) -> bool {
    matches!(value, Value::Text(text) if match text.strip_prefix("by_duration:") {
        Some(duration) => is_duration(duration),
        None => text == "earliest" || text == "latest",
    })
}

/// An address for clients from outside, or `off`.
pub(super) fn is_external(value: &Value) -> bool {
    matches!(value, Value::Text(text) if External::parse(text).is_some())
}

/// Topics to make at the start.
pub(super) fn are_start_topics(value: &Value) -> bool {
    matches!(value, Value::Text(text) if StartTopic::parse_all(text).is_some())
}

/// An address for HTTP, or `off`.
pub(super) fn is_http_listener(value: &Value) -> bool {
    matches!(value, Value::Text(text) if HttpListener::parse(text).is_some())
}

fn all(value: &Value, accepts: impl Fn(&str) -> bool) -> bool {
    matches!(value, Value::List(items) if items.iter().all(|item| accepts(item)))
}

fn is_server(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        is_host(host) && port.parse::<u16>().is_ok()
    })
}

/// Whether these are characters of a host name or address (Kafka's `Utils.validHostPattern`), at least one.
pub(crate) fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-%._:".contains(&byte))
}

/// A duration of ISO 8601 that is not negative, as `java.time.Duration` reads it: `PnDTnHnMn.nS`, in any case.
fn is_duration(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    let Some(text) = text.strip_prefix('P') else {
        return false;
    };
    let (days, time) = match text.split_once('T') {
        Some((_, "")) => return false,
        Some((days, time)) => (days, time),
        None => (text, ""),
    };
    !text.is_empty()
        && parts_in_order(days, &[('D', false)])
        && parts_in_order(time, &[('H', false), ('M', false), ('S', true)])
}

/// Whether `text` is numbers, each followed by one of `units`, each unit at most once and in this order. The flag
/// tells whether the unit's number may have a fraction.
fn parts_in_order(mut text: &str, units: &[(char, bool)]) -> bool {
    for (unit, fraction) in units {
        if let Some((number, rest)) = text.split_once(*unit) {
            let (whole, decimals) = match number.split_once('.') {
                Some(parts) if *fraction => parts,
                Some(_) => return false,
                None => (number, ""),
            };
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let whole = whole.strip_prefix('+').unwrap_or(whole);
            if whole.is_empty() || !digits(whole) || !digits(decimals) || decimals.len() > 9 {
                return false;
            }
            text = rest;
        }
    }
    text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Value {
        Value::List(text.split(',').map(str::to_owned).collect())
    }

    #[test]
    fn voters_and_servers() {
        for good in ["1@localhost:9093", "1@[::1]:9093,2@10.0.0.1:9093"] {
            assert!(are_voters(&list(good)), "{good}");
        }
        for bad in ["localhost:9093", "x@h:1", "1@h", "1@:1", "1@h:99999", "1@h:1,"] {
            assert!(!are_voters(&list(bad)), "{bad}");
        }
        assert!(are_servers(&list("a:1,b:2")) && are_servers(&Value::List(Vec::new())));
        assert!(!are_servers(&list("a b:1")));
    }

    #[test]
    fn throttled_replicas() {
        for good in ["*", "0:1", "0:1,12:3", ""] {
            assert!(are_replicas(&list(good)), "{good}");
        }
        for bad in ["0:1,x", "*,0:1", "0:", "0:1:2", ":1", "-1:2"] {
            assert!(!are_replicas(&list(bad)), "{bad}");
        }
    }

    #[test]
    fn offset_resets() {
        let accepts = |text: &str| is_offset_reset(&Value::Text(text.to_owned()));
        for good in [
            "earliest",
            "latest",
            "by_duration:PT1H",
            "by_duration:P3D",
            "by_duration:p1dt2h3m4.5s",
        ] {
            assert!(accepts(good), "{good}");
        }
        for bad in [
            "EARLIEST",
            "none",
            "by_duration:",
            "by_duration:x",
            "by_duration:-PT1H",
            "by_duration:P",
            "by_duration:PT",
            "by_duration:PT1H2D",
            "by_duration:PT1M1H",
            "by_duration:PT1.5H",
            "by_duration:P1H",
        ] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    #[test]
    fn levels_and_jitter() {
        let accepted: Vec<i32> =
            (-3..12).filter(|level| is_gzip_level(&Value::Int(*level))).collect();
        assert_eq!(accepted, [-1, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(is_jitter(&Value::Double(0.5)) && !is_jitter(&Value::Double(0.51)));
    }
}
