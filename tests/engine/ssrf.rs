//! The relay leads nowhere it must not: every address of `registry`, however it is written, at every place where a peer
//! is named or speaks up.

use crate::client::{Ask, Client, allocate, bind, permit, send};
use crate::registry::{METADATA, V4, V6, is_closed};
use crate::tcp_relay::{allocate_tcp, peer_connects};
use crate::world::{RELAY, RELAY_LOCAL, RELAY_V6, SERVER, SERVER_V6, Setup, World, address};
use crate::world::{peer, peer_v6};
use hairpin::engine::{IcmpError, Outcome, TcpRules};
use hairpin::wire::Method;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A prefix of each length of RFC 6052 §2.2.
const NAT64: [(&str, usize); 6] = [
    ("2a00:1::", 32),
    ("2a00:2:100::", 40),
    ("2a00:3:3::", 48),
    ("2a00:4:4:100::", 56),
    ("2a00:5:5:5::", 64),
    ("2a00:6:6:6:0:6::", 96),
];

/// RFC 6052 §2.2: the IPv4 address stands behind the prefix, and octet 8 is left out.
fn nat64(prefix: &str, length: usize, v4: Ipv4Addr) -> Ipv6Addr {
    let mut octets = prefix.parse::<Ipv6Addr>().unwrap().octets();
    let places = (length / 8..16).filter(|place| *place != 8);
    for (place, octet) in places.zip(v4.octets()) {
        octets[place] = octet;
    }
    octets.into()
}

/// IPv6 addresses that lead to an IPv4 address where the network has the translator or the tunnel, which deny what is
/// inside if they deny anything.
fn translated(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let mut forms = vec![
        Ipv6Addr::new(0x64, 0xFF9B, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2600, 1, 2, 3, 0, 0x5EFE, high, low),
        Ipv6Addr::new(0x2600, 1, 2, 3, 0x0200, 0x5EFE, high, low),
    ];
    forms.extend(NAT64.map(|(prefix, length)| nat64(prefix, length, v4)));
    forms
}

/// Those that are denied whatever is inside.
fn sealed(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let mut forms = vec![
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xFFFF, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xFFFF, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0xFFFF, 0xF7F7, 0xF7F7),
        Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0xFFFF, !high, !low),
    ];
    forms.extend([48, 56, 64, 96].map(|length| nat64("64:ff9b:1::", length, v4)));
    forms
}

/// First, last and middle address of a network of `bits` bits.
fn ends(first: u128, length: u32, bits: u32) -> [u128; 3] {
    let hosts = bits - length;
    let last = first
        | if hosts == 128 {
            u128::MAX
        } else {
            (1 << hosts) - 1
        };
    [first, last, first + (last - first) / 2]
}

fn v4_ends() -> impl Iterator<Item = Ipv4Addr> {
    let nets = V4
        .iter()
        .map(|(net, length)| (Ipv4Addr::from(*net).to_bits(), *length));
    nets.flat_map(|(net, length)| ends(net.into(), length, 32))
        .map(|bits| Ipv4Addr::from_bits(bits as u32))
}

fn v6_ends() -> impl Iterator<Item = Ipv6Addr> {
    let nets = V6
        .iter()
        .map(|(net, length)| (Ipv6Addr::from(*net).to_bits(), *length));
    nets.flat_map(|(net, length)| ends(net, length, 128))
        .map(Ipv6Addr::from_bits)
}

/// Every denied address, in every form.
fn denied() -> BTreeSet<IpAddr> {
    let metadata = METADATA.iter().map(|text| text.parse::<IpAddr>().unwrap());
    let own = [SERVER, SERVER_V6].map(|text| address(text).ip());
    let plain: BTreeSet<IpAddr> = v4_ends()
        .map(IpAddr::from)
        .chain(v6_ends().map(IpAddr::from))
        .chain(metadata)
        .chain(own)
        .collect();
    let relays = [RELAY, RELAY_LOCAL].map(|text| text.parse::<Ipv4Addr>().unwrap());
    let mut all = BTreeSet::new();
    for ip in plain.iter().copied().chain(relays.map(IpAddr::from)) {
        let IpAddr::V4(v4) = ip else { continue };
        let forms = translated(v4).into_iter().chain(sealed(v4));
        all.extend(forms.map(IpAddr::from));
    }
    all.extend(plain);
    // A relay's address is for the hairpin, which has its own tests.
    all.retain(|ip| ![RELAY, RELAY_LOCAL, RELAY_V6].contains(&ip.to_string().as_str()));
    all
}

/// Clients with relays of both families, over UDP and TCP. They permit one peer each.
struct Scene {
    world: World,
    datagrams: [Client; 2],
    streams: [Client; 2],
}

impl Scene {
    fn new() -> Self {
        let mut world = World::with(Setup {
            // Whoever tries a thousand addresses is slowed, and this is about the addresses.
            new_peers_per_second: 0,
            nat64_prefixes: vec![
                "2a00:1::/32",
                "2a00:2:100::/40",
                "2a00:3:3::/48",
                "2a00:4:4:100::/56",
                "2a00:5:5:5::/64",
                "2a00:6:6:6:0:6::/96",
            ],
            tcp: TcpRules {
                enabled: true,
                ..TcpRules::default()
            },
            nonce_lifetime: 1_000_000,
            ..Setup::default()
        });
        world.keeps_transcript = false;
        let datagrams = [(1, 1), (2, 2)].map(|(host, family)| {
            let mut client = world.client(host);
            assert_eq!(client.code(&mut world, &allocate().family(family)), 0);
            client
        });
        let streams = [(3, 1), (4, 2)].map(|(host, family)| {
            let mut client = world.tcp_client(host);
            assert_eq!(client.code(&mut world, &allocate_tcp().family(family)), 0);
            client
        });
        Scene {
            world,
            datagrams,
            streams,
        }
    }

    fn datagrams(&mut self, ip: IpAddr) -> (&mut World, &mut Client) {
        (
            &mut self.world,
            &mut self.datagrams[usize::from(ip.is_ipv6())],
        )
    }

    fn streams(&mut self, ip: IpAddr) -> (&mut World, &mut Client) {
        (
            &mut self.world,
            &mut self.streams[usize::from(ip.is_ipv6())],
        )
    }

    /// Nothing went anywhere and nothing is permitted.
    fn is_untouched(&self) {
        let world = &self.world;
        assert!(world.sent.is_empty() && world.connects.is_empty() && world.arrivals.is_empty());
        assert!(world.told.is_empty() && world.routes.is_empty());
        assert!(world.live.values().all(|live| live.permissions.is_empty()));
    }
}

#[test]
fn x_sec_03_04_05_x_cve_01_02_03_08_15_no_request_opens_a_way_to_a_denied_address() {
    let mut scene = Scene::new();
    let all = denied();
    assert!(all.len() > 1000, "{}", all.len());
    for ip in all {
        let denied = SocketAddr::new(ip, 80);
        let (world, client) = scene.datagrams(ip);
        assert_eq!(client.code(world, &permit(&[denied])), 403, "{ip}");
        assert_eq!(client.code(world, &bind(0x4000, denied)), 403, "{ip}");
        client.tell(world, &send(denied, b"x"));
        client.push(world, 0x4000, b"x");
        let (world, client) = scene.streams(ip);
        assert_eq!(client.code(world, &permit(&[denied])), 403, "{ip}");
        let connect = Ask::new(Method::CONNECT).peer(denied);
        assert_eq!(client.code(world, &connect), 403, "{ip}");
    }
    scene.is_untouched();
}

#[test]
fn x_sec_03_04_nothing_that_a_denied_address_sends_is_heard() {
    let mut scene = Scene::new();
    for ip in denied() {
        let from = SocketAddr::new(ip, 80);
        let (world, client) = scene.datagrams(ip);
        let (relay, relayed) = world.live[&client.path.tuple].relays[0];
        world.peer_sends(from, relayed.local, b"x");
        let now = world.now();
        let error = IcmpError {
            kind: if ip.is_ipv4() { 3 } else { 1 },
            code: 3,
            data: 0,
        };
        let outcome = world.engines[0].from_icmp(now, relay, from, error);
        assert_eq!(outcome, Outcome::Nothing, "{ip}");
        let (world, client) = scene.streams(ip);
        let relayed = world.live[&client.path.tuple].relayed;
        assert_eq!(peer_connects(world, from, relayed.local), None, "{ip}");
    }
    scene.is_untouched();
}

#[test]
fn x_sec_03_the_address_next_to_a_denied_range_is_an_ordinary_peer() {
    // The other half: what the tests above take for granted is not that everything is denied.
    let mut scene = Scene::new();
    let beside_v4 = V4.iter().flat_map(|(net, length)| {
        let [first, last, _] = ends(Ipv4Addr::from(*net).to_bits().into(), *length, 32);
        let [before, after] = [
            (first as u32).wrapping_sub(1),
            (last as u32).wrapping_add(1),
        ];
        [before, after].map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)))
    });
    let beside_v6 = V6.iter().flat_map(|(net, length)| {
        let [first, last, _] = ends(Ipv6Addr::from(*net).to_bits(), *length, 128);
        let [before, after] = [first.wrapping_sub(1), last.wrapping_add(1)];
        [before, after].map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)))
    });
    let mut open = 0;
    for ip in beside_v4.chain(beside_v6) {
        let (world, client) = scene.datagrams(ip);
        let expected = if is_closed(ip) { 403 } else { 0 };
        let asked = client.code(world, &permit(&[SocketAddr::new(ip, 80)]));
        let is_full = asked == 508;
        assert!(
            asked == expected || is_full && expected == 0,
            "{ip}: {asked}"
        );
        open += usize::from(expected == 0);
        world.advance(300 * u64::from(is_full));
    }
    assert!(open > 30, "{open}");
}

#[test]
fn x_sec_04_a_translator_leads_to_public_hosts_and_a_tunnel_nowhere() {
    let public = Ipv4Addr::new(8, 8, 8, 8);
    for form in translated(public) {
        let mut scene = Scene::new();
        let (world, client) = scene.datagrams(form.into());
        let peer = SocketAddr::new(form.into(), 80);
        assert_eq!(client.code(world, &bind(0x4000, peer)), 0, "{form}");
        client.push(world, 0x4000, b"hello");
        assert_eq!(world.take_sent()[0].to, peer);
    }
    let mut scene = Scene::new();
    for form in sealed(public) {
        let (world, client) = scene.datagrams(form.into());
        let peer = SocketAddr::new(form.into(), 80);
        assert_eq!(client.code(world, &permit(&[peer])), 403, "{form}");
    }
    scene.is_untouched();
}

#[test]
fn x_sec_03_t_perm_08_a_request_with_one_denied_peer_changes_nothing() {
    let mut scene = Scene::new();
    let denied = METADATA.iter().map(|text| text.parse::<IpAddr>().unwrap());
    for (place, ip) in denied.enumerate() {
        let good = |host: u8| match ip {
            IpAddr::V4(_) => peer(host, 80),
            IpAddr::V6(_) => peer_v6(host.into(), 80),
        };
        let mut peers = vec![good(1), good(2)];
        peers.insert(place % 3, SocketAddr::new(ip, 80));
        let (world, client) = scene.datagrams(ip);
        assert_eq!(client.code(world, &permit(&peers)), 403, "{ip}");
        for peer in &peers {
            client.tell(world, &send(*peer, b"x"));
        }
        let relayed = world.live[&client.path.tuple].relayed.local;
        world.peer_sends(good(1), relayed, b"x");
        let (world, client) = scene.streams(ip);
        assert_eq!(client.code(world, &permit(&peers)), 403, "{ip}");
        let relayed = world.live[&client.path.tuple].relayed.local;
        assert_eq!(peer_connects(world, good(1), relayed), None);
    }
    scene.is_untouched();
    // Nor does a permission that there is grow older or younger.
    let (world, client) = (&mut scene.world, &mut scene.datagrams[0]);
    assert_eq!(client.code(world, &permit(&[peer(1, 80)])), 0);
    world.advance(299);
    let both = [peer(1, 80), address("169.254.169.254:80")];
    assert_eq!(client.code(world, &permit(&both)), 403);
    world.advance(1);
    client.tell(world, &send(peer(1, 80), b"x"));
    assert_eq!(world.take_sent(), []);
}

#[test]
fn x_sec_06_no_form_of_this_server_but_its_relays_is_reached() {
    let mut scene = Scene::new();
    let tuple = scene.datagrams[0].path.tuple;
    let mut second = scene.world.client(9);
    let other = second.allocated(&mut scene.world);
    // In another form the relay is no hairpin: a translator would take the packet elsewhere, and back in.
    let IpAddr::V4(relay) = other.ip() else {
        panic!("an IPv4 relay was asked for");
    };
    let local: Ipv4Addr = RELAY_LOCAL.parse().unwrap();
    for v4 in [relay, local] {
        for form in translated(v4).into_iter().chain(sealed(v4)) {
            let peer = SocketAddr::new(form.into(), other.port());
            let (world, client) = scene.datagrams(form.into());
            assert_eq!(client.code(world, &permit(&[peer])), 403, "{form}");
            assert_eq!(client.code(world, &bind(0x4000, peer)), 403, "{form}");
            let (world, client) = scene.streams(form.into());
            let connect = Ask::new(Method::CONNECT).peer(peer);
            assert_eq!(client.code(world, &connect), 403, "{form}");
        }
    }
    scene.is_untouched();
    // The plain form is, at the ports of relays and at no other, and only inside.
    let world = &mut scene.world;
    let client = &mut scene.datagrams[0];
    assert_eq!(client.code(world, &permit(&[other])), 0);
    for port in [
        1,
        22,
        25,
        53,
        80,
        443,
        3478,
        5349,
        9641,
        49151,
        other.port() ^ 1,
    ] {
        client.tell(world, &send(SocketAddr::new(relay.into(), port), b"x"));
        client.tell(world, &send(SocketAddr::new(local.into(), port), b"x"));
    }
    assert_eq!(world.take_sent(), []);
    // And nobody who writes this server's address into a packet is heard over the network.
    let relayed = world.live[&tuple].relayed.local;
    for port in [53, 3478, other.port()] {
        world.peer_sends(SocketAddr::new(relay.into(), port), relayed, b"x");
        world.peer_sends(SocketAddr::new(local.into(), port), relayed, b"x");
    }
    assert_eq!(scene.datagrams[0].received(&mut scene.world), []);
}
