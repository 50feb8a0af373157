//! The tester: a page on which a user finds out what works from where they are, and what to tell the administrator.
//!
//! The files hold nothing secret and are served to everybody who reaches them. What a test begins with is a short-lived
//! credential, which takes a token unless the tester is public; without one, sources and all together may begin so many
//! tests an hour. The credential is of a [confined](crate::policy::is_confined) user: it relays to allocations made with it inside
//! this server, and to nobody else's, and its allocations end with it. `words.json` has what is said and when; `hairpin probe
//! --report` says the same by it. Main items: [`Tests`], [`admit`], [`WORDS`].

use super::answer::{Answer, Refusal, json};
use super::credentials::{IceServer, mint, random};
use super::guard::OWN_HEADER;
use super::http::Door;
use super::office::Office;
use super::page::file;
use crate::config::{Discovery, Tester};
use crate::net::addresses;
use crate::policy::{TESTERS, network_of};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::info;

/// What a report says, and when: for the page, and for `hairpin probe --report`.
pub const WORDS: &str = include_str!("words.json");

const INDEX: &str = include_str!("index.html");
const SCRIPT: &str = include_str!("page.js");
const MEASURE: &str = include_str!("measure.js");
const REPORT: &str = include_str!("report.js");
const STYLE: &str = include_str!("style.css");

/// How long tests are counted.
const HOUR: Duration = Duration::from_secs(3600);

/// The most networks that are told apart within an hour where their tests have no limit in total.
const NETWORKS: usize = 100_000;

/// Whether a path is of the tester.
pub(super) fn is_part(path: &str) -> bool {
    path == "/test" || path.starts_with("/test/") || path == "/v1/test"
}

/// The tests begun without a token in this hour.
#[derive(Default)]
pub(super) struct Tests(Mutex<Option<Hour>>);

struct Hour {
    began: Instant,
    total: u32,
    of_networks: HashMap<IpAddr, u32>,
}

impl Tests {
    /// Counts one more, unless there were enough.
    fn admit(
        &self,
        from: IpAddr,
        limits: &Tester,
        now: Instant,
    ) -> Result<(), (Duration, &'static str)> {
        // Each change is one, so that a poisoned lock holds good counts.
        let mut hour = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = match &mut *hour {
            Some(hour) if now.duration_since(hour.began) < HOUR => hour,
            other => other.insert(Hour {
                began: now,
                total: 0,
                of_networks: HashMap::new(),
            }),
        };
        let rest = HOUR.saturating_sub(now.duration_since(hour.began));
        let too_many = "there were many tests within the last hour; try again later";
        if limits.total != 0 && hour.total >= limits.total {
            return Err((rest, too_many));
        }
        if limits.per_source != 0 {
            let network = network_of(from);
            let is_full = hour.of_networks.len() >= NETWORKS;
            if is_full && !hour.of_networks.contains_key(&network) {
                return Err((rest, too_many));
            }
            let of_network = hour.of_networks.entry(network).or_default();
            if *of_network >= limits.per_source {
                let why =
                    "there were many tests from your network within the last hour; try again later";
                return Err((rest, why));
            }
            *of_network += 1;
        }
        hour.total = hour.total.saturating_add(1);
        Ok(())
    }
}

/// Lets somebody without a token begin a test, or says why not: the guard's `refusal` where the tester is not public.
pub(super) fn admit(office: &Office, request: &Request, refusal: Refusal) -> Result<(), Refusal> {
    let settings = office.service.settings();
    let tester = &settings.admin.tester;
    let Some(Door::Network { from }) = request.extensions().get::<Door>() else {
        return Err(refusal);
    };
    if !tester.public {
        return Err(refusal);
    }
    if !request.headers().contains_key(OWN_HEADER) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "a test begins with the header `X-Hairpin: 1`",
        ));
    }
    let admitted = office.tests.admit(*from, tester, Instant::now());
    admitted.map_err(|(wait, why)| Refusal::too_soon(wait, why))?;
    info!(%from, "a test without a token");
    Ok(())
}

/// What a test needs.
#[derive(Serialize)]
struct Begun {
    #[serde(rename = "iceServers")]
    ice_servers: Vec<IceServer>,
    /// Where else STUN is answered: to see whether a NAT makes a difference.
    stun: Vec<String>,
    ttl: u64,
}

/// POST /v1/test
pub(super) async fn begin(State(office): State<Arc<Office>>) -> Answer {
    let settings = office.service.settings();
    let ttl = settings.admin.tester.ttl.as_secs();
    let user = format!("{TESTERS}:{}", random());
    let minted = mint(&office, &settings, &user, ttl)?;
    let relays = office.service.relays();
    let sites = settings.discovery.iter();
    let stun = sites
        .flat_map(|site: &Discovery| {
            let ports = [site.primary.port(), site.alternate.port()];
            let ips = addresses::discovery(site, &relays);
            ips.into_iter()
                .flat_map(move |ip| ports.map(|port| format!("stun:{}", SocketAddr::new(ip, port))))
        })
        .collect();
    let begun = Begun {
        ice_servers: minted.servers(),
        stun,
        ttl,
    };
    Ok(json(StatusCode::CREATED, &begun))
}

/// GET /test
pub(super) async fn index() -> Response {
    file("text/html; charset=utf-8", INDEX)
}

/// GET /test/page.js
pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

/// GET /test/measure.js
pub(super) async fn measure() -> Response {
    file("text/javascript; charset=utf-8", MEASURE)
}

/// GET /test/report.js
pub(super) async fn report() -> Response {
    file("text/javascript; charset=utf-8", REPORT)
}

/// GET /test/style.css
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}

/// GET /test/words.json
pub(super) async fn words() -> Response {
    file("application/json", WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_source: u32, total: u32) -> Tester {
        Tester {
            per_source,
            total,
            ..Tester::default()
        }
    }

    #[test]
    fn a_source_may_begin_so_many_tests_in_an_hour_and_all_together_so_many() {
        let (tests, now, limits) = (Tests::default(), Instant::now(), limits(2, 3));
        let admit = |from: &str, now| tests.admit(from.parse().unwrap(), &limits, now).is_ok();
        assert!(admit("2001:db8::1", now) && admit("2001:db8::2", now));
        assert!(!admit("2001:db8:0:ff::3", now), "the same /56");
        assert!(admit("192.0.2.1", now));
        assert!(!admit("192.0.2.2", now), "all together");
        let later = now + HOUR;
        assert!(admit("2001:db8::1", later) && admit("192.0.2.2", later));
        assert!(admit("::ffff:192.0.2.2", later));
        assert!(!admit("192.0.2.2", later));
    }

    #[test]
    fn networks_beyond_those_that_can_be_told_apart_wait_and_the_others_do_not() {
        let (tests, now, limits) = (Tests::default(), Instant::now(), limits(2, 0));
        let admit = |bits: u32, limits| tests.admit(IpAddr::V4(bits.into()), limits, now);
        for bits in 0..NETWORKS as u32 {
            assert_eq!(admit(bits, &limits), Ok(()));
        }
        assert!(admit(u32::MAX, &limits).is_err());
        assert_eq!(admit(7, &limits), Ok(()), "counted already");
        assert!(admit(7, &limits).is_err(), "and not for ever");
        // Who goes without a limit for each is not counted.
        let free = Tester {
            per_source: 0,
            ..limits
        };
        assert_eq!(admit(u32::MAX, &free), Ok(()));
    }

    #[test]
    fn without_limits_anybody_may() {
        let (tests, now, limits) = (Tests::default(), Instant::now(), limits(0, 0));
        for _ in 0..5000 {
            assert_eq!(tests.admit([192, 0, 2, 1].into(), &limits, now), Ok(()));
        }
        let hour = tests.0.lock().unwrap();
        assert_eq!(hour.as_ref().unwrap().of_networks.len(), 0);
    }
}
