//! Asks every member of etcd how it is.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use domain::time::Timestamp;
use keyspace::{
    Store,
    cluster::{Alarm, MemberReport},
    store::Pem,
};
use reqwest::{Certificate, Client, Identity, header::DATE};
use service_kit::clock;

use super::{Access, health::Member};

/// How long to wait for the metrics of a member.
const METRICS_TIMEOUT: Duration = Duration::from_secs(3);
/// The metric with the quota of a member (etcd 3.4 and later).
const QUOTA: &str = "etcd_server_quota_backend_bytes";

/// The members that etcd lists and those that the configuration names, and the alarms as far as they are known.
pub(super) async fn gather(access: &Access, store: &Store) -> Result<(Vec<Member>, Vec<Alarm>)> {
    let [ca, certificate, key] = &access.pem;
    let pem = Pem { ca, certificate, key };
    let reports = store.survey(pem).await.context("cannot list etcd's members")?;
    let mut alarms = Vec::new();
    for alarm in reports.iter().flat_map(alarms_of) {
        if !alarms.contains(&alarm) {
            alarms.push(alarm);
        }
    }
    let listed = |url: &String| reports.iter().any(|report| report.member.client_urls.contains(url));
    let others: Vec<_> = access.common.etcd.iter().filter(|url| !listed(url)).cloned().collect();
    let newest = reports.iter().filter_map(|report| Some(report.state.as_ref()?.raft_index)).max().unwrap_or(0);
    let http = http(access)?;
    let mut members = Vec::new();
    for report in reports {
        let member = from_report(report, newest);
        members.push(with_metrics(&http, member).await);
    }
    for url in others {
        let member = unlisted(access, url).await;
        // A host's own services may use another address of a member that is listed, and services that follow the members
        // may have one in their configuration that was removed long ago.
        let is_gone =
            member.trouble.is_some() && access.common.etcd_discovery && members.iter().any(Member::is_healthy);
        let is_known = member.trouble.is_none() && members.iter().any(|known| known.id == member.id);
        if !is_gone && !is_known {
            members.push(with_metrics(&http, member).await);
        }
    }
    Ok((members, alarms))
}

/// The alarms of a member: etcd's list needs a quorum, and the member's own status does not.
fn alarms_of(report: &MemberReport) -> Vec<Alarm> {
    let says = |text: &str| report.state.iter().flat_map(|state| &state.errors).any(|error| error.contains(text));
    let known = [(Alarm::NoSpace, "alarm:NOSPACE"), (Alarm::Corrupt, "alarm:CORRUPT")];
    known
        .into_iter()
        .filter(|(alarm, text)| report.alarms.contains(alarm) || says(text))
        .map(|(alarm, _)| alarm)
        .collect()
}

fn from_report(report: MemberReport, newest: u64) -> Member {
    let leads = report.leads();
    let MemberReport { member, state, trouble, latency, .. } = report;
    let url = member.client_urls.first().or_else(|| member.peer_urls.first()).cloned().unwrap_or_default();
    let known = Member {
        url,
        id: member.id,
        name: member.name,
        is_listed: true,
        is_learner: member.is_learner,
        trouble,
        latency,
        ..Member::default()
    };
    let Some(state) = state else { return known };
    Member {
        lag: newest.saturating_sub(state.raft_applied),
        version: state.version,
        cluster: state.cluster,
        leads,
        is_led: state.leader != 0,
        size: state.size,
        in_use: state.in_use,
        ..known
    }
}

/// A member that the configuration names and etcd does not list: it is of another cluster, or does not answer.
async fn unlisted(access: &Access, url: String) -> Member {
    let asked = async { anyhow::Ok(access.store(std::slice::from_ref(&url)).await?.member_state().await?) };
    match asked.await {
        Err(error) => Member { url, trouble: Some(format!("{error:#}")), ..Member::default() },
        Ok(state) => Member {
            url,
            id: state.id,
            version: state.version,
            cluster: state.cluster,
            leads: state.leader != 0 && state.leader == state.id,
            is_led: state.leader != 0,
            size: state.size,
            in_use: state.in_use,
            ..Member::default()
        },
    }
}

fn http(access: &Access) -> Result<Client> {
    let [ca, certificate, key] = &access.pem;
    let client = Client::builder()
        .no_proxy()
        .timeout(METRICS_TIMEOUT)
        .tls_certs_only(Certificate::from_pem_bundle(ca).context("the CA cannot be used")?)
        .identity(
            Identity::from_pem(&[&certificate[..], &key[..]].concat()).context("the certificate cannot be used")?,
        );
    client.build().context("cannot create the HTTP client")
}

/// Adds the quota of a member and how far its clock is off, if its metrics are available.
async fn with_metrics(http: &Client, member: Member) -> Member {
    if member.trouble.is_some() {
        return member;
    }
    let Ok(answer) = http.get(format!("{}/metrics", member.url)).send().await else { return member };
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let clock_offset = date.and_then(|date| offset(date, clock::now()));
    let quota = answer.text().await.ok().and_then(|metrics| quota_in(&metrics));
    Member { quota, clock_offset, ..member }
}

fn quota_in(metrics: &str) -> Option<u64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(QUOTA)?.strip_prefix(' '))?;
    let bytes: f64 = line.trim().parse().ok()?;
    // Formatted without fraction or exponent.
    format!("{bytes:.0}").parse().ok()
}

/// By how many seconds a clock that shows this date (RFC 9110 §5.6.7) is ahead of `now`.
fn offset(date: &str, now: Timestamp) -> Option<i64> {
    let shown = httpdate::parse_http_date(date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    // A date has whole seconds.
    Some(i64::try_from(shown.as_secs()).ok()? - now.millis() / 1000)
}

#[cfg(test)]
mod tests {
    use keyspace::cluster::MemberState;

    use super::*;

    #[test]
    fn the_quota_is_read_from_etcds_metrics() {
        let metrics = "# HELP etcd_server_quota_backend_bytes Current backend storage quota size in bytes.\n\
                       # TYPE etcd_server_quota_backend_bytes gauge\n\
                       etcd_server_quota_backend_bytes 2.147483648e+09\n";
        assert_eq!(quota_in(metrics), Some(2 << 30));
        assert_eq!(quota_in("something else"), None);
    }

    #[test]
    fn the_clock_of_a_member_is_read_from_the_date_of_its_answer() {
        let now = Timestamp::from_millis(784_111_777_900);
        let table = [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(-60)),
            ("Sun, 06 Nov 1994 09:49:37 GMT", Some(3600)),
            ("Sun, 06 Nov 1994", None),
            ("", None),
        ];
        for (date, expected) in table {
            assert_eq!(offset(date, now), expected, "{date}");
        }
    }

    #[test]
    fn alarms_are_known_without_a_quorum() {
        let report = |errors: &[&str], alarms: &[Alarm]| MemberReport {
            state: Some(MemberState {
                errors: errors.iter().map(|text| (*text).to_owned()).collect(),
                ..Default::default()
            }),
            alarms: alarms.to_vec(),
            ..MemberReport::default()
        };
        let table: [(&[&str], &[Alarm], &[Alarm]); 6] = [
            (&[], &[], &[]),
            (&["memberID:8 alarm:NOSPACE "], &[], &[Alarm::NoSpace]),
            (&["memberID:8 alarm:CORRUPT "], &[], &[Alarm::Corrupt]),
            (&[], &[Alarm::NoSpace], &[Alarm::NoSpace]),
            (&["memberID:8 alarm:NOSPACE "], &[Alarm::NoSpace], &[Alarm::NoSpace]),
            (&["etcdserver: no leader"], &[], &[]),
        ];
        for (errors, alarms, expected) in table {
            assert_eq!(alarms_of(&report(errors, alarms)), expected, "{errors:?} {alarms:?}");
        }
    }
}
