//! The pool of relay ports, by itself: nobody gets a port that is another's, and every port comes back.

#![allow(clippy::unwrap_used)]

use hairpin::engine::relays::{NoPort, Owner, PortCounts, PortWish, RESERVATION_TIME};
use hairpin::engine::{
    Instant, RelayAddress, RelayId, RelayPool, RelayProtocol, RelayedAddress, WorkerId,
};
use hairpin::policy::{Circle, Lease, Limits, Quotas};
use hairpin::wire::attribute::Family;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::time::Duration;

const QUARANTINE: u64 = 5000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn relay(local: &str, external: &str) -> RelayAddress {
    RelayAddress {
        local: ip(local),
        external: ip(external),
    }
}

fn pool(ports: RangeInclusive<u16>) -> RelayPool {
    let addresses = [relay("10.0.0.9", "20.0.0.9")];
    RelayPool::new(&addresses, ports, Duration::from_millis(QUARANTINE))
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

fn owner(worker: u32, relay: u32) -> Owner {
    Owner {
        circle: Circle::default(),
        worker: WorkerId(worker),
        relay: RelayId(relay),
    }
}

fn lease() -> Lease {
    let source = ip("30.0.0.1");
    Quotas::new(Limits::default())
        .admit("alice", source)
        .unwrap()
}

#[test]
fn t_gen_08_every_port_is_given_once_until_none_is_left() {
    let pool = pool(50000..=50099);
    let mut rng = rng(1);
    let mut given = HashSet::new();
    for _ in 0..100 {
        let taken = pool.take(Family::V4, PortWish::Any, at(0), &mut rng);
        let taken = taken.unwrap();
        assert_eq!(taken.local.ip(), ip("10.0.0.9"));
        assert_eq!(taken.advertised.ip(), ip("20.0.0.9"));
        assert_eq!(taken.local.port(), taken.advertised.port());
        assert!((50000..=50099).contains(&taken.local.port()));
        assert!(given.insert(taken.local));
    }
    for wish in [PortWish::Any, PortWish::Even, PortWish::EvenAndNext] {
        let none = pool.take(Family::V4, wish, at(0), &mut rng);
        assert_eq!(none, Err(NoPort));
    }
}

#[test]
fn a_released_port_rests_and_then_comes_back() {
    let pool = pool(50000..=50000);
    let mut rng = rng(1);
    let mut take = |now| pool.take(Family::V4, PortWish::Any, at(now), &mut rng);
    let first = take(0).unwrap();
    assert_eq!(take(1), Err(NoPort));
    pool.release(first, at(1000));
    assert_eq!(pool.counts(at(1000)).quarantined, 1);
    assert_eq!(take(1000 + QUARANTINE - 1), Err(NoPort));
    assert_eq!(take(1000 + QUARANTINE), Ok(first));
    assert_eq!(pool.counts(at(9000)).used, 1);
}

#[test]
fn families_are_kept_apart() {
    let addresses = [
        relay("10.0.0.9", "20.0.0.9"),
        relay("2600:1::9", "2600:1::9"),
    ];
    let pool = RelayPool::new(&addresses, 50000..=50001, Duration::ZERO);
    let mut rng = rng(1);
    assert!(pool.supports(Family::V4) && pool.supports(Family::V6));
    for family in [Family::V6, Family::V4] {
        for _ in 0..2 {
            let taken = pool.take(family, PortWish::Any, at(0), &mut rng).unwrap();
            assert_eq!(Family::of(&taken.local), family);
        }
        let none = pool.take(family, PortWish::Any, at(0), &mut rng);
        assert_eq!(none, Err(NoPort));
    }
    let v4_only = RelayPool::new(&addresses[..1], 50000..=50001, Duration::ZERO);
    assert!(!v4_only.supports(Family::V6));
    let none = v4_only.take(Family::V6, PortWish::Any, at(0), &mut rng);
    assert_eq!(none, Err(NoPort));
}

#[test]
fn the_same_port_can_be_used_on_each_of_several_addresses() {
    let addresses = [relay("10.0.0.8", "20.0.0.8"), relay("10.0.0.9", "20.0.0.9")];
    let pool = RelayPool::new(&addresses, 50000..=50009, Duration::ZERO);
    let mut rng = rng(3);
    let mut hosts: BTreeMap<IpAddr, u32> = BTreeMap::new();
    for _ in 0..20 {
        let taken = pool.take(Family::V4, PortWish::Any, at(0), &mut rng);
        *hosts.entry(taken.unwrap().local.ip()).or_default() += 1;
    }
    assert_eq!(hosts.into_values().collect::<Vec<_>>(), [10, 10]);
    assert_eq!(pool.addresses().collect::<Vec<_>>(), addresses);
}

#[test]
fn both_forms_of_an_address_name_its_owner_while_it_has_one() {
    let pool = pool(50000..=50099);
    let taken = pool
        .take(Family::V4, PortWish::Any, at(0), &mut rng(1))
        .unwrap();
    assert_eq!(pool.owner_of(taken.local), None);
    let confined = |who: Owner| Owner {
        circle: pool.circle("tester:one"),
        ..who
    };
    let all = [owner(0, 0), owner(3, 77), owner(u32::MAX / 4 - 1, u32::MAX)];
    for who in all.into_iter().flat_map(|who| [who, confined(who)]) {
        pool.publish(taken, RelayProtocol::Udp, who);
        assert_eq!(pool.owner_of(taken.local), Some(who));
        assert_eq!(pool.owner_of(taken.advertised), Some(who));
    }
    for port in [0, 1, 49999, 50100, 65535, taken.local.port() ^ 1] {
        assert_eq!(pool.owner_of(SocketAddr::new(ip("20.0.0.9"), port)), None);
    }
    let elsewhere = SocketAddr::new(ip("20.0.0.8"), taken.local.port());
    assert_eq!(pool.owner_of(elsewhere), None);
    pool.release(taken, at(0));
    assert_eq!(pool.owner_of(taken.local), None);
    assert_eq!(pool.owner_of(taken.advertised), None);
}

#[test]
fn t_alloc_18_pairs_are_even_and_the_one_behind_and_are_found_if_there_is_one() {
    let pool = pool(50001..=50099);
    let mut rng = rng(1);
    let mut given = HashSet::new();
    for _ in 0..49 {
        let even = pool.take(Family::V4, PortWish::EvenAndNext, at(0), &mut rng);
        let even = even.unwrap();
        assert_eq!(even.local.port() % 2, 0);
        assert!(given.insert(even.local.port()));
        assert!(given.insert(even.next_port().local.port()));
    }
    let none = pool.take(Family::V4, PortWish::Even, at(0), &mut rng);
    assert_eq!(none, Err(NoPort));
    let odd = pool.take(Family::V4, PortWish::Any, at(0), &mut rng);
    assert_eq!(odd.unwrap().local.port(), 50001);
}

#[test]
fn the_last_port_of_all_has_none_behind_it() {
    let pool = pool(65534..=65534);
    let mut rng = rng(1);
    let none = pool.take(Family::V4, PortWish::EvenAndNext, at(0), &mut rng);
    assert_eq!(none, Err(NoPort));
    let whole = RelayPool::new(
        &[relay("10.0.0.9", "10.0.0.9")],
        1..=65535,
        Duration::from_millis(QUARANTINE),
    );
    let mut given = HashSet::new();
    for _ in 0..65535 {
        let taken = whole.take(Family::V4, PortWish::Any, at(0), &mut rng);
        assert!(given.insert(taken.unwrap().local.port()));
    }
    let none = whole.take(Family::V4, PortWish::Any, at(0), &mut rng);
    assert_eq!(none, Err(NoPort));
}

#[test]
fn t_alloc_19_20_a_reservation_is_for_one_user_one_time_and_30_seconds() {
    let pool = pool(50000..=50001);
    let mut rng = rng(1);
    let even = pool
        .take(Family::V4, PortWish::EvenAndNext, at(0), &mut rng)
        .unwrap();
    let token = pool.reserve_next(even, "alice", lease(), at(0), &mut rng);
    let counts = pool.counts(at(0));
    assert_eq!((counts.used, counts.reserved, counts.free), (1, 1, 0));
    let redeem = |token, user, now| {
        let redeemed = pool.redeem(token, user, at(now));
        redeemed.map(|(relayed, _)| relayed)
    };
    assert_eq!(redeem(token, "bob", 1), Err(NoPort));
    assert_eq!(redeem([0; 8], "alice", 1), Err(NoPort));
    let last = RESERVATION_TIME.as_millis() as u64 - 1;
    assert_eq!(redeem(token, "alice", last), Ok(even.next_port()));
    assert_eq!(redeem(token, "alice", last), Err(NoPort));
    // Its time being up changes nothing for the port that was redeemed.
    assert_eq!(pool.counts(at(last + 1)).used, 2);
    let none = pool.take(Family::V4, PortWish::Any, at(last + 1), &mut rng);
    assert_eq!(none, Err(NoPort));
    pool.release(even, at(last));
    pool.release(even.next_port(), at(last));

    let now = last + QUARANTINE;
    let even = pool
        .take(Family::V4, PortWish::EvenAndNext, at(now), &mut rng)
        .unwrap();
    let token = pool.reserve_next(even, "alice", lease(), at(now), &mut rng);
    let over = now + RESERVATION_TIME.as_millis() as u64;
    assert_eq!(redeem(token, "alice", over), Err(NoPort));
    let counts = pool.counts(at(over));
    assert_eq!((counts.used, counts.reserved, counts.free), (1, 0, 1));
}

#[test]
fn t_alloc_29_ports_come_in_no_order_and_all_alike() {
    let pool = RelayPool::new(
        &[relay("10.0.0.9", "10.0.0.9")],
        49152..=65535,
        Duration::ZERO,
    );
    let mut rng = rng(7);
    let mut ports = Vec::new();
    for _ in 0..4000 {
        let taken = pool.take(Family::V4, PortWish::Any, at(0), &mut rng);
        let taken = taken.unwrap();
        ports.push(f64::from(taken.local.port()) - 49152.0);
        if ports.len() % 2 == 0 {
            pool.release(taken, at(0));
        }
    }
    let count = ports.len() as f64;
    let mean = ports.iter().sum::<f64>() / count;
    let spread: f64 = ports.iter().map(|p| (p - mean).powi(2)).sum();
    for lag in 1..5 {
        let serial: f64 = ports
            .iter()
            .zip(&ports[lag..])
            .map(|(a, b)| (a - mean) * (b - mean))
            .sum();
        // Four standard deviations of what chance alone gives.
        assert!((serial / spread).abs() < 4.0 / count.sqrt(), "lag {lag}");
    }
    let mut buckets = [0_f64; 16];
    for port in &ports {
        buckets[*port as usize / 1024] += 1.0;
    }
    let expected = count / 16.0;
    let chi: f64 = buckets.iter().map(|n| (n - expected).powi(2)).sum::<f64>() / expected;
    assert!(chi < 45.0, "{chi}");
}

#[test]
fn t_gen_08_workers_that_take_at_once_never_get_the_same_port() {
    let pool = pool(50000..=50199);
    let held: Mutex<HashSet<SocketAddr>> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (pool, held) = (&pool, &held);
            scope.spawn(move || {
                let mut rng = rng(thread);
                let mut mine: Vec<RelayedAddress> = Vec::new();
                for step in 0..3000_u64 {
                    let now = at(step * 20);
                    if !mine.is_empty() && rng.random_bool(0.5) {
                        let back = mine.swap_remove(rng.random_range(0..mine.len()));
                        let who = pool.owner_of(back.advertised).unwrap();
                        assert_eq!(who.worker, WorkerId(thread as u32));
                        assert!(held.lock().unwrap().remove(&back.local));
                        pool.release(back, now);
                        continue;
                    }
                    let wish = [PortWish::Any, PortWish::Even, PortWish::EvenAndNext]
                        [rng.random_range(0..3)];
                    let Ok(taken) = pool.take(Family::V4, wish, now, &mut rng) else {
                        continue;
                    };
                    let mut got = vec![taken];
                    if wish == PortWish::EvenAndNext {
                        let token = pool.reserve_next(taken, "alice", lease(), now, &mut rng);
                        // The clocks of the threads differ, so another's may have ended the reservation.
                        got.extend(pool.redeem(token, "alice", now).map(|(next, _)| next));
                    }
                    for taken in got {
                        assert!(held.lock().unwrap().insert(taken.local), "{taken:?}");
                        pool.publish(taken, RelayProtocol::Udp, owner(thread as u32, step as u32));
                        mine.push(taken);
                    }
                }
                for back in mine {
                    assert!(held.lock().unwrap().remove(&back.local));
                    pool.release(back, at(60_000));
                }
            });
        }
    });
    let counts = pool.counts(at(200_000));
    let all_free = PortCounts {
        free: 200,
        ..PortCounts::default()
    };
    assert_eq!(counts, all_free);
}

#[derive(Clone, Debug)]
enum Step {
    Take(u8),
    Release(usize),
    Redeem(usize, bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_u8).prop_map(Step::Take),
        3 => any::<usize>().prop_map(Step::Release),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(n, own)| Step::Redeem(n, own)),
        2 => prop_oneof![1..3000_u64, 4999..5002_u64, 29_999..30_002_u64].prop_map(Step::Wait),
    ]
}

/// What a port is, in the simplest terms: taken, or not to be had before a time.
#[derive(Clone, Debug, PartialEq)]
enum Port {
    Free,
    Used,
    Resting(u64),
    Reserved(u64, [u8; 8]),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_pool_agrees_with_a_list_of_ports(
        first in 50000..50002_u16,
        count in 1..12_u16,
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let pool = pool(first..=first + count - 1);
        let mut rng = rng(seed);
        let mut ports: BTreeMap<u16, Port> =
            (first..first + count).map(|port| (port, Port::Free)).collect();
        let mut tokens: Vec<([u8; 8], u16)> = Vec::new();
        let mut used: Vec<RelayedAddress> = Vec::new();
        let mut now = 0;
        for step in steps {
            for port in ports.values_mut() {
                if let Port::Resting(until) | Port::Reserved(until, _) = port && *until <= now {
                    *port = Port::Free;
                }
            }
            let is_free = |ports: &BTreeMap<u16, Port>, port| ports.get(&port) == Some(&Port::Free);
            match step {
                Step::Take(wish) => {
                    let wish = [PortWish::Any, PortWish::Even, PortWish::EvenAndNext][usize::from(wish)];
                    let fits = |port: u16| is_free(&ports, port) && match wish {
                        PortWish::Any => true,
                        PortWish::Even => port.is_multiple_of(2),
                        PortWish::EvenAndNext => port.is_multiple_of(2) && is_free(&ports, port + 1),
                    };
                    match pool.take(Family::V4, wish, at(now), &mut rng) {
                        Ok(taken) => {
                            let port = taken.local.port();
                            prop_assert!(fits(port));
                            ports.insert(port, Port::Used);
                            used.push(taken);
                            if wish == PortWish::EvenAndNext {
                                let token = pool.reserve_next(taken, "alice", lease(), at(now), &mut rng);
                                ports.insert(port + 1, Port::Reserved(now + 30_000, token));
                                tokens.push((token, port + 1));
                            }
                        }
                        Err(NoPort) => prop_assert!(!ports.keys().any(|port| fits(*port))),
                    }
                }
                Step::Release(which) if !used.is_empty() => {
                    let back = used.swap_remove(which % used.len());
                    pool.release(back, at(now));
                    ports.insert(back.local.port(), Port::Resting(now + QUARANTINE));
                }
                Step::Redeem(which, own) if !tokens.is_empty() => {
                    let place = which % tokens.len();
                    let (token, port) = tokens[place];
                    let user = if own { "alice" } else { "bob" };
                    let redeemed = pool.redeem(token, user, at(now)).map(|(next, _)| next);
                    if own && matches!(ports[&port], Port::Reserved(_, of) if of == token) {
                        prop_assert_eq!(redeemed.map(|r| r.local.port()), Ok(port));
                        ports.insert(port, Port::Used);
                        used.push(redeemed.unwrap());
                    } else {
                        prop_assert_eq!(redeemed, Err(NoPort));
                    }
                    if own {
                        tokens.swap_remove(place);
                    }
                }
                Step::Wait(millis) => {
                    now += millis;
                    continue;
                }
                _ => {}
            }
            let of = |f: &dyn Fn(&Port) -> bool| ports.values().filter(|p| f(p)).count() as u64;
            let expected = PortCounts {
                free: of(&|p| *p == Port::Free),
                used: of(&|p| *p == Port::Used),
                quarantined: of(&|p| matches!(p, Port::Resting(_))),
                reserved: of(&|p| matches!(p, Port::Reserved(..))),
            };
            prop_assert_eq!(pool.counts(at(now)), expected);
        }
    }
}
