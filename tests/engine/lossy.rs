//! A link that loses, repeats and reorders datagrams, with clients that send again until they are answered.

use crate::client::{Ask, Client, Reply, allocate, bind, frame, permit};
use crate::world::{Setup, World, peer};
use hairpin::wire::AttributeType;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

/// Datagrams under way, by the time they arrive.
struct Link {
    rng: StdRng,
    under_way: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    count: u64,
}

impl Link {
    fn send(&mut self, now: u64, client: usize, bytes: &[u8]) {
        let copies = match self.rng.random_range(0..10) {
            0..3 => 0,
            3..5 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            self.count += 1;
            let arrives = now + self.rng.random_range(5..900);
            let key = (arrives, self.count);
            self.under_way.insert(key, (client, bytes.to_vec()));
        }
    }
}

/// What a client is about to do next: first Allocate, then a permission, then a channel.
struct Agent {
    client: Client,
    step: usize,
    request: Vec<u8>,
    send_at: u64,
}

impl Agent {
    fn ask(&self) -> Option<Ask> {
        match self.step {
            0 => Some(allocate()),
            1 => Some(permit(&[peer(1, 7), peer(2, 7)])),
            2 => Some(bind(0x4000, peer(1, 7))),
            3 => Some(bind(0x4001, peer(2, 7))),
            _ => None,
        }
    }

    fn renew(&mut self, now: u64) {
        self.send_at = now;
        if let Some(ask) = self.ask() {
            self.request = if self.client.nonce.is_empty() {
                self.client.unsigned(&ask)
            } else {
                self.client.signed(&ask)
            };
        }
    }

    fn hear(&mut self, now: u64, reply: &Reply) {
        let is_answer = reply.0[8..20] == self.request[8..20];
        if !is_answer || self.step == 4 {
            return; // to a request that was answered before
        }
        match reply.code() {
            0 => self.step += 1,
            401 | 438 => self.client.nonce = reply.value(AttributeType::NONCE).unwrap(),
            code => panic!("an honest client met {code}"),
        }
        self.renew(now);
    }
}

fn run(seed: u64, workers: u32) -> (World, Vec<Agent>) {
    let mut world = World::with(Setup {
        workers,
        ..Setup::default()
    });
    let rng = |stream: u64| StdRng::seed_from_u64(seed * 2 + stream);
    let (mut there, mut back) = [0, 1]
        .map(|stream| Link {
            rng: rng(stream),
            under_way: BTreeMap::new(),
            count: 0,
        })
        .into();
    let mut agents: Vec<Agent> = (0..4)
        .map(|host| {
            let mut client = world.client(host + 1);
            client.worker = usize::from(host) % workers as usize;
            let mut agent = Agent {
                client,
                step: 0,
                request: Vec::new(),
                send_at: 0,
            };
            agent.renew(world.millis);
            agent
        })
        .collect();
    for _ in 0..6000 {
        let now = world.millis;
        for (number, agent) in agents.iter_mut().enumerate() {
            if agent.send_at <= now {
                agent.send_at = now + 500;
                if agent.step < 4 {
                    there.send(now, number, &agent.request);
                } else {
                    there.send(now, number, &frame(0x4000, b"media"));
                }
            }
        }
        while let Some(entry) = there.under_way.first_entry()
            && entry.key().0 <= now
        {
            let (number, bytes) = entry.remove();
            let client = &agents[number].client;
            if let Some(reply) = client.send_bytes(&mut world, &bytes) {
                back.send(now, number, &reply.0);
            }
        }
        while let Some(entry) = back.under_way.first_entry()
            && entry.key().0 <= now
        {
            let (number, bytes) = entry.remove();
            agents[number].hear(now, &Reply(bytes));
        }
        world.advance_millis(10);
    }
    (world, agents)
}

#[test]
fn s_rtx_01_clients_get_what_they_asked_for_once_on_a_link_that_loses_repeats_and_reorders() {
    for seed in 0..4 {
        let (mut world, agents) = run(seed, 1 + seed as u32 % 3);
        for agent in &agents {
            assert_eq!(agent.step, 4, "seed {seed}");
        }
        assert_eq!(world.live.len(), agents.len());
        assert!(world.closed.is_empty());
        assert_eq!(world.routes.len(), 2 * agents.len());
        assert!(!world.take_sent().is_empty());
        world.expect_nothing_left();
    }
}

#[test]
fn the_same_seed_and_inputs_give_the_same_outputs() {
    let [first, second, other] = [1, 1, 2].map(|seed| run(seed, 2).0.transcript);
    assert!(first.len() > 10_000);
    assert!(first == second);
    assert!(first != other);
}
