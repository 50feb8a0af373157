//! Quotas: how many allocations a user, a source address and the server may hold.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use hairpin::policy::{Lease, Limits, QuotaExceeded, Quotas};
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn limits(total: u32, per_user: u32, per_source: u32) -> Limits {
    Limits {
        total,
        per_user,
        per_source,
        ..Limits::default()
    }
}

#[test]
fn each_limit_refuses_by_its_own_name_and_counts_nothing() {
    let quotas = Quotas::new(limits(3, 2, 2));
    let _a = quotas.admit("alice", ip("8.8.8.1")).unwrap();
    let _b = quotas.admit("alice", ip("8.8.8.2")).unwrap();
    let refusal = |user: &str, source: &str| quotas.admit(user, ip(source)).unwrap_err();
    assert_eq!(refusal("alice", "8.8.8.3"), QuotaExceeded::User);
    let _c = quotas.admit("bob", ip("8.8.8.1")).unwrap();
    assert_eq!(refusal("carol", "8.8.8.1"), QuotaExceeded::Source);
    assert_eq!(refusal("carol", "8.8.8.4"), QuotaExceeded::Total);
    assert_eq!(refusal("alice", "8.8.8.1"), QuotaExceeded::User);
    assert_eq!(quotas.in_use(), 3);
    assert_eq!(quotas.holders(), (2, 2));
}

#[test]
fn a_dropped_lease_makes_room_and_leaves_no_entry() {
    let quotas = Quotas::new(limits(1, 1, 1));
    for _ in 0..3 {
        let lease = quotas.admit("alice", ip("2a00::1")).unwrap();
        assert_eq!(lease.user(), "alice");
        assert!(quotas.admit("alice", ip("2a00::1")).is_err());
        drop(lease);
        assert_eq!((quotas.in_use(), quotas.holders()), (0, (0, 0)));
    }
}

#[test]
fn ipv6_sources_count_by_64_and_mapped_ones_as_ipv4() {
    let quotas = Quotas::new(limits(0, 0, 1));
    let _a = quotas.admit("a", ip("2a00:1:2:3::1")).unwrap();
    assert!(quotas.admit("b", ip("2a00:1:2:3:ffff::9")).is_err());
    let _b = quotas.admit("b", ip("2a00:1:2:4::1")).unwrap();
    let _c = quotas.admit("c", ip("8.8.8.8")).unwrap();
    assert!(quotas.admit("d", ip("::ffff:8.8.8.8")).is_err());
    let _d = quotas.admit("d", ip("::ffff:8.8.8.9")).unwrap();
}

#[test]
fn zero_means_no_limit() {
    let quotas = Quotas::new(Limits::default());
    let leases: Vec<Lease> = (0..5000)
        .map(|_| quotas.admit("alice", ip("8.8.8.8")).unwrap())
        .collect();
    assert_eq!(quotas.in_use(), 5000);
    drop(leases);
    assert_eq!(quotas.in_use(), 0);
}

#[test]
fn new_limits_hold_for_new_leases_and_leave_live_ones() {
    let quotas = Quotas::new(Limits::default());
    let mut leases: Vec<Lease> = (0..3)
        .map(|_| quotas.admit("alice", ip("8.8.8.8")).unwrap())
        .collect();
    quotas.set_limits(limits(0, 2, 0));
    assert_eq!(quotas.limits(), limits(0, 2, 0));
    assert_eq!(quotas.in_use(), 3);
    leases.pop();
    assert!(quotas.admit("alice", ip("8.8.8.8")).is_err());
    leases.pop();
    let _again = quotas.admit("alice", ip("8.8.8.8")).unwrap();
}

#[test]
fn users_of_a_group_share_its_quota_and_a_group_that_was_not_named_is_none() {
    let quotas = Quotas::new(limits(0, 2, 0));
    quotas.set_groups([("shop", 3), ("game", 0)]);
    let admit = |group: &str, user: &str| quotas.admit_in(Some(group), user, ip("8.8.8.8"));
    let mut shop = vec![
        admit("shop", "shop:a").unwrap(),
        admit("shop", "shop:a").unwrap(),
        admit("shop", "shop:b").unwrap(),
    ];
    assert_eq!(shop[0].group(), Some("shop"));
    assert_eq!(admit("shop", "shop:c").unwrap_err(), QuotaExceeded::Group);
    // A user's own quota is told first.
    assert_eq!(admit("shop", "shop:a").unwrap_err(), QuotaExceeded::User);
    let _others: Vec<Lease> = (0..9)
        .flat_map(|user| {
            let user = user.to_string();
            [
                admit("game", &user).unwrap(),
                admit("unheard", &user).unwrap(),
            ]
        })
        .collect();
    assert_eq!(quotas.in_use_by("shop"), 3);
    assert_eq!(quotas.in_use_by("game"), 9);
    assert_eq!(quotas.in_use_by("unheard"), 0);
    shop.pop();
    shop.push(admit("shop", "shop:c").unwrap());
    assert_eq!(quotas.in_use_by("shop"), 3);
}

#[test]
fn one_network_holds_a_third_of_what_tests_may_hold_together() {
    let quotas = Quotas::new(Limits::default());
    quotas.set_groups([("tester", 100)]);
    let admit = |user: u32, source: &str| {
        let user = format!("tester:{user}");
        quotas.admit_in(Some("tester"), &user, ip(source))
    };
    // Whatever addresses of a network they come from, and however many tests were begun there.
    let of_network = |at: u32| format!("2a00:1:2:3{:02x}::{at}", at % 256);
    let mut one: Vec<Lease> = (0..33)
        .map(|at| admit(at, &of_network(at)).unwrap())
        .collect();
    let refusal = admit(99, "2a00:1:2:3ff::1").unwrap_err();
    assert_eq!(refusal, QuotaExceeded::Source);
    let _other_network = admit(99, "2a00:1:2:400::1").unwrap();
    let _v4: Vec<Lease> = (0..33).map(|at| admit(at, "8.8.8.8").unwrap()).collect();
    assert!(admit(99, "::ffff:8.8.8.8").is_err());
    // A session that moves counts where it is.
    let mut moves = admit(98, "8.8.8.9").unwrap();
    assert_eq!(moves.move_to(ip("8.8.8.8")), Err(QuotaExceeded::Source));
    one.pop();
    moves.move_to(ip("2a00:1:2:3ff::1")).unwrap();
    moves.move_to(ip("2a00:1:2:3fe::1")).unwrap();
    assert!(admit(99, "2a00:1:2:3ff::1").is_err());
    drop(moves);
    let _room_again = admit(99, "2a00:1:2:3ff::1").unwrap();
    // Nobody else is counted so.
    let all: Vec<Lease> = (0..99)
        .map(|_| quotas.admit("alice", ip("8.8.8.8")).unwrap())
        .collect();
    assert_eq!(all.len(), 99);
    // Without a bound for all there is none for a network.
    quotas.set_groups([("tester", 0)]);
    let _free = admit(97, "8.8.8.8").unwrap();
}

#[test]
fn groups_that_are_named_anew_keep_their_counts() {
    let quotas = Quotas::new(Limits::default());
    let admit = |user: &str| quotas.admit_in(Some("shop"), user, ip("8.8.8.8"));
    quotas.set_groups([("shop", 1)]);
    let lease = admit("a").unwrap();
    quotas.set_groups([("shop", 2)]);
    let _second = admit("b").unwrap();
    assert_eq!(admit("c").unwrap_err(), QuotaExceeded::Group);
    // Whose key was taken away still has credentials, and is not free for that.
    quotas.set_groups([]);
    assert_eq!(quotas.in_use_by("shop"), 2);
    assert_eq!(admit("d").unwrap_err(), QuotaExceeded::Group);
    quotas.set_groups([("shop", 3)]);
    let _third = admit("e").unwrap();
    assert_eq!(admit("f").unwrap_err(), QuotaExceeded::Group);
    drop(lease);
    assert!(admit("g").is_ok());
}

#[test]
fn threads_together_never_pass_a_limit() {
    let quotas = Quotas::new(limits(40, 10, 0));
    let alive = AtomicU32::new(0);
    let admitted = AtomicU32::new(0);
    thread::scope(|scope| {
        for worker in 0..8 {
            let quotas = quotas.clone();
            let (alive, admitted) = (&alive, &admitted);
            scope.spawn(move || {
                let user = format!("user{}", worker % 5);
                let mut held = Vec::new();
                for round in 0..2000 {
                    if let Ok(lease) = quotas.admit(&user, ip("8.8.8.8")) {
                        assert!(alive.fetch_add(1, Ordering::SeqCst) < 40);
                        admitted.fetch_add(1, Ordering::SeqCst);
                        held.push(lease);
                    }
                    if round % 3 == 0 && !held.is_empty() {
                        alive.fetch_sub(1, Ordering::SeqCst);
                        held.pop();
                    }
                }
                assert!(held.len() <= 10);
                for lease in held {
                    alive.fetch_sub(1, Ordering::SeqCst);
                    drop(lease);
                }
            });
        }
    });
    assert!(admitted.load(Ordering::SeqCst) > 0);
    assert_eq!((quotas.in_use(), quotas.holders()), (0, (0, 0)));
}

#[test]
fn a_lease_may_end_on_another_thread() {
    let quotas = Quotas::new(Limits::default());
    let lease = quotas.admit("alice", ip("8.8.8.8")).unwrap();
    thread::spawn(move || drop(lease)).join().unwrap();
    assert_eq!(quotas.in_use(), 0);
}

proptest! {
    #[test]
    fn counts_agree_with_a_list_of_live_leases(
        steps in proptest::collection::vec((any::<bool>(), 0u8..3, 0u8..3, any::<prop::sample::Index>()), 0..200),
        (total, per_user, per_source) in (0u32..8, 0u32..4, 0u32..4),
    ) {
        let quotas = Quotas::new(limits(total, per_user, per_source));
        let mut live: Vec<(u8, u8, Lease)> = Vec::new();
        for (opens, user, source, which) in steps {
            if opens {
                let room = |limit: u32, count: usize| limit == 0 || count < limit as usize;
                let expected = if !room(per_user, live.iter().filter(|held| held.0 == user).count()) {
                    Some(QuotaExceeded::User)
                } else if !room(per_source, live.iter().filter(|held| held.1 == source).count()) {
                    Some(QuotaExceeded::Source)
                } else if !room(total, live.len()) {
                    Some(QuotaExceeded::Total)
                } else {
                    None
                };
                let answer = quotas.admit(&user.to_string(), IpAddr::from([8, 8, 8, source]));
                prop_assert_eq!(answer.as_ref().err().copied(), expected);
                if let Ok(lease) = answer {
                    live.push((user, source, lease));
                }
            } else if !live.is_empty() {
                drop(live.swap_remove(which.index(live.len())));
            }
            prop_assert_eq!(quotas.in_use() as usize, live.len());
        }
    }
}
