//! What the process of a broker says over HTTP, if it is Ottla and its port can be reached: open files, how long its disk takes,
//! settings that it does not know.

use std::time::Duration;

use super::{Finding, bad, fine, odd};
use crate::broker::HTTP_PORT;
use crate::cli::http::ask;
use crate::client::{Address, Metadata};
use crate::env::Env;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// With more of the files open that may be, in percent, clients are soon refused.
const OPEN_PERCENT_MAX: f64 = 80.0;
/// A disk is slow if one sync in a hundred takes longer, in seconds.
const SYNC_SECONDS_MAX: f64 = 0.1;
const OK: u16 = 200;

/// Asks a broker of the cluster. Nobody needs to be where nothing was said to be.
pub(super) async fn examine(
    env: &Env,
    said: Option<&Address>,
    begun: &[Address],
    metadata: &Metadata,
    findings: &mut Vec<Finding>,
) {
    let usual = begun.first().map(|begun| Address { port: HTTP_PORT, ..begun.clone() });
    let Some(address) = said.cloned().or(usual) else { return };
    let place = (address.host.as_str(), address.port);
    let limit = env.steady.now().plus(ANSWER_TIMEOUT);
    let answered = env.steady.timeout_at(limit, ask(env, place, "GET", "/metrics")).await;
    let found = match answered.map_err(Into::into).and_then(|answer| answer) {
        Ok(answer) if answer.status == OK => of_page(&answer.body, metadata),
        Ok(answer) => Err(format!("http://{address}/metrics answered {}", answer.status)),
        Err(error) => Err(format!("nobody answers at http://{address}/metrics: {error:#}")),
    };
    match found {
        Ok(found) => findings.extend(found),
        Err(_) if said.is_none() => {}
        Err(text) => {
            let fix = "--http says where a broker serves HTTP, as its ready line does".to_owned();
            findings.push(bad("process", text, fix));
        }
    }
}

/// What is found in the metrics of a broker of this cluster.
fn of_page(page: &str, metadata: &Metadata) -> Result<Vec<Finding>, String> {
    let info = samples(page, "ottla_info").next();
    let label = |name| info.and_then(|(labels, _)| label_of(labels, name));
    let broker = label("broker").and_then(|id| id.parse().ok());
    let broker = metadata.brokers.iter().map(|node| node.id).find(|id| Some(id.0) == broker);
    let broker = broker.filter(|_| label("cluster_id") == metadata.cluster_id.as_deref());
    let broker = broker.ok_or("no broker of this cluster serves HTTP there")?;
    let value = |name| samples(page, name).next().map(|(_, value)| value);
    let mut findings = Vec::new();
    if let (Some(open), Some(max)) = (value("process_open_fds"), value("process_max_fds")) {
        let text = format!("broker {broker} has {open} of {max} files open");
        findings.push(match open * 100.0 > max * OPEN_PERCENT_MAX {
            false => fine("files", text),
            true => {
                let fix =
                    "raise the limit of open files: ulimit -n, or LimitNOFILE of its systemd unit";
                bad("files", text, fix.to_owned())
            }
        });
    }
    findings.extend(syncs(page).map(|slowest| {
        let text = format!("99 of 100 syncs of broker {broker} take at most {slowest} s");
        match slowest > SYNC_SECONDS_MAX {
            false => fine("fsync", text),
            true => odd(
                "fsync",
                text,
                "give its log directories (log.dirs) a disk that other programs do not keep busy"
                    .to_owned(),
            ),
        }
    }));
    if let Some(unknown) = value("ottla_unknown_config_keys") {
        findings.push(match unknown > 0.0 {
            false => fine("settings", format!("broker {broker} knows all keys that it is given")),
            true => odd(
                "settings",
                format!("broker {broker} does not know {unknown} of the keys that it is given"),
                "ottla config check with the same file and environment says which, and so does the broker's log"
                    .to_owned(),
            ),
        });
    }
    Ok(findings)
}

/// In which time 99 of 100 syncs are done, in seconds: the bound of a bucket. None if there were none yet.
fn syncs(page: &str) -> Option<f64> {
    let buckets: Vec<(f64, f64)> = samples(page, "ottla_fsync_duration_seconds_bucket")
        .filter_map(|(labels, count)| Some((label_of(labels, "le")?.parse().ok()?, count)))
        .collect();
    let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    buckets.iter().find(|(_, count)| *count >= all * 0.99).map(|(bound, _)| *bound)
}

/// The samples of a metric: what stands between braces, and the value.
fn samples<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    page.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        let (labels, value) = rest.rsplit_once(' ')?;
        Some((labels, value.parse().ok()?))
    })
}

/// The value of a label. Those that are asked for here have nothing in them that is escaped.
fn label_of<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let inside = labels.strip_prefix('{')?.strip_suffix('}')?;
    let mut pairs = inside.split(',').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(label, _)| *label == name)?;
    value.strip_prefix('"')?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Node;
    use crate::model::BrokerId;

    const PAGE: &str = "\
# HELP ottla_info What runs here; always 1.
ottla_info{version=\"0.1.0\",cluster_id=\"abc\",broker=\"7\"} 1
process_open_fds 90
process_max_fds 100
ottla_fsync_duration_seconds_bucket{le=\"0.001\"} 950
ottla_fsync_duration_seconds_bucket{le=\"0.5\"} 995
ottla_fsync_duration_seconds_bucket{le=\"+Inf\"} 1000
ottla_unknown_config_keys 2
";

    #[test]
    fn a_broker_of_this_cluster_says_how_it_is() {
        let address = Address { host: "here".to_owned(), port: 9092 };
        let mut metadata = Metadata {
            cluster_id: Some("abc".to_owned()),
            brokers: vec![Node { id: BrokerId(7), address, rack: None }],
            ..Metadata::default()
        };
        let found = of_page(PAGE, &metadata).unwrap();
        let texts: Vec<&str> = found.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "broker 7 has 90 of 100 files open",
                "99 of 100 syncs of broker 7 take at most 0.5 s",
                "broker 7 does not know 2 of the keys that it is given",
            ]
        );
        assert!(found.iter().all(|finding| finding.fix.is_some()), "{found:?}");
        assert!(of_page(&PAGE.replace(" 90\n", " 70\n"), &metadata).unwrap()[0].fix.is_none());
        metadata.cluster_id = Some("other".to_owned());
        assert!(of_page(PAGE, &metadata).is_err() && of_page("", &metadata).is_err());
    }

    #[test]
    fn the_slowest_of_a_hundred_syncs() {
        assert_eq!(syncs(PAGE), Some(0.5));
        assert_eq!(syncs(&PAGE.replace("995", "950")), Some(f64::INFINITY));
        assert_eq!(syncs(""), None);
    }
}
