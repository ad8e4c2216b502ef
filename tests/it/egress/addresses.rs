//! Which addresses a call may lead to, however they are written and whatever a name resolves to.

use super::*;

use tokio::net::UdpSocket;

/// Ways to write an address of this machine, or to make somebody read another host than the one that was checked.
fn spellings(port: u16) -> Vec<String> {
    let hosts = [
        // Canonical.
        "127.0.0.1",
        "127.0.0.2",
        "127.255.255.254",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "localhost",
        "LOCALHOST",
        "a.localhost",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        // Not canonical.
        "127.1",
        "127.0.1",
        "0",
        "1",
        "2130706433",
        "4294967297",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0.0.1",
        "0X7F.0X0.0X0.0X1",
        "017700000001",
        "0177.1",
        "0177.0.0.1",
        "0177.0.0.01",
        "127.0.0.01",
        "127.000.000.001",
        "00000177.0.0.1",
        "127.0.0.1.",
        "localhost.",
        "[0:0:0:0:0:0:0:1]",
        "[::0001]",
        "[0000::1]",
        "[::1%lo]",
        "[::1%25lo]",
        "[fe80::1%25eth0]",
        "[::ffff:127.1]",
        "[::FFFF:127.0.0.1]",
        "①②⑦.⓪.⓪.①",
        "１２７.0.0.1",
        "127。0。0。1",
        "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
        "lоcalhost",
        // Escapes, and texts that end differently for somebody.
        "127.0.0.1%00.granted.example",
        "127.0.0.1%2egranted.example",
        "%31%32%37.0.0.1",
        "127.0.0.1%20",
        "127.0.0.1\\.granted.example",
        "granted.example\\@127.0.0.1",
        "granted.example@127.0.0.1",
        "granted.example:x@127.0.0.1",
        "x@granted.example@127.0.0.1",
        "@127.0.0.1",
        "granted.example%40127.0.0.1",
        "granted.example#@127.0.0.1",
        "granted.example?@127.0.0.1",
        "granted.example/@127.0.0.1",
        "127.0.0.1#granted.example",
        "127.0.0.1/granted.example",
        "127.0.0.1;granted.example",
        "127.0.0.1,granted.example",
        "127.0.0.1 granted.example",
        "127.0.0.1\tgranted.example",
        "127.0.0.1\r\nhost: granted.example",
        "granted.example\r\n\r\nGET / HTTP/1.1",
        "127.0.0.1:80",
        "[127.0.0.1]",
        "[localhost]",
        "127.0.0.1_",
        "_.127.0.0.1",
        // Names that lead there.
        "loopback.evil.example",
        "loopback6.evil.example",
        "mapped.evil.example",
        "translated.evil.example",
        "sixtofour.evil.example",
        "private.evil.example",
        "metadata.evil.example",
        "carrier.evil.example",
        "unspecified.evil.example",
        "local6.evil.example",
        "mixed.evil.example",
        "alias.evil.example",
        "LOOPBACK.evil.example",
        "multicast.evil.example",
        "unspecified6.evil.example",
    ];
    hosts.iter().map(|host| format!("{host}:{port}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_an_address_leads_to_this_machine() {
    let world = World::new(Options::default()).await;
    let canary = Outside::at("[::]:0").await;
    let port = canary.port();
    for (name, addresses) in [
        ("loopback.evil.example", &["127.0.0.1"] as &[&str]),
        ("loopback6.evil.example", &["::1"]),
        ("mapped.evil.example", &["::ffff:127.0.0.1"]),
        ("translated.evil.example", &["64:ff9b::7f00:1"]),
        ("sixtofour.evil.example", &["2002:7f00:1::"]),
        ("private.evil.example", &["10.0.0.1", "192.168.1.1"]),
        ("metadata.evil.example", &["169.254.169.254"]),
        ("carrier.evil.example", &["100.64.0.1"]),
        ("unspecified.evil.example", &["0.0.0.0"]),
        ("unspecified6.evil.example", &["::"]),
        ("local6.evil.example", &["fe80::1", "fd00::1"]),
        ("multicast.evil.example", &["224.0.0.1"]),
        ("mixed.evil.example", &["192.0.2.7", "127.0.0.1"]),
        ("granted.example", &["127.0.0.1"]),
    ] {
        world.names.set(name, addresses);
    }
    world.names.alias("alias.evil.example", "loopback.evil.example");
    // Whatever can be granted is: only the address is between these calls and the canary.
    let spellings = spellings(port);
    let mut granted: Vec<String> = vec![];
    for spelling in spellings.iter().chain([&format!("*.evil.example:{port}"), &format!("granted.example:{port}")]) {
        let grant = json!({ "http": [{ "scheme": "http", "hosts": [spelling], "methods": ["GET"] }] });
        if world.larder.api().put("/functions/caller/grants", grant).await.status == 200 {
            granted.push(spelling.clone());
        }
    }
    assert!(granted.len() > 30, "{granted:?}");
    let grant = |network: Value| json!([{ "scheme": "http", "hosts": granted, "methods": ["GET"], "calls": 1000, "network": network }]);
    world.grant(grant(Value::Null)).await;
    let calls: Vec<Value> =
        spellings.iter().map(|authority| json!({ "authority": authority, "path": "/secrets" })).collect();
    let told = world.call(calls.into()).await;
    for (spelling, told) in spellings.iter().zip(&told) {
        let by_setter = told["refused"] == "authority";
        let by_us = ["DestinationIpProhibited", "HttpRequestDenied", "HttpRequestUriInvalid"]
            .iter()
            .any(|code| told["error"] == *code);
        assert!(by_setter || by_us, "{spelling:?} was answered with {told}");
        if granted.contains(spelling) && !by_setter {
            assert_eq!(told["error"], "DestinationIpProhibited", "{spelling:?}");
        }
    }
    println!("SSRF: {} spellings tried, {} connections made", spellings.len(), canary.connections());
    assert!(spellings.len() >= 60);
    assert_eq!(canary.connections(), 0);
    // The canary would have been found: with the network in the grant it is.
    world.grant(grant(json!("127.0.0.0/8"))).await;
    assert_eq!(world.get(&format!("127.0.0.1:{port}"), "/").await["status"], 200);
    assert_eq!(world.get(&format!("LOOPBACK.evil.example:{port}"), "/").await["status"], 200);
    assert_eq!(canary.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_network_needs_the_grant_and_the_operator() {
    let networks = "[\"127.0.0.0/30\", \"10.0.0.0/8\"]";
    let world = World::new(Options::default().set("LARDER_EGRESS__PRIVATE_NETWORKS", networks)).await;
    let (near, far) = (Outside::at("127.0.0.1:0").await, Outside::at("127.0.0.9:0").await);
    let (near, far) = (near.address.to_string(), far.address.to_string());
    world.grant(here(&[&near, &far])).await;
    assert_eq!(world.get(&near, "/").await["status"], 200);
    assert_eq!(world.get(&far, "/").await["error"], "DestinationIpProhibited");
    world.owner_reads("the operator allows no such private network (egress.private_networks)").await;
    world.grant(json!([{ "scheme": "http", "hosts": [near], "network": "10.0.0.0/8" }])).await;
    assert_eq!(world.get(&near, "/").await["error"], "DestinationIpProhibited");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_resolved_once_and_all_its_addresses_count() {
    let world = World::new(Options::default()).await;
    let server = Outside::at("127.0.0.1:0").await;
    let port = server.port();
    let canary = Outside::at(&format!("127.0.0.2:{port}")).await;
    let grant = |network: &str| json!([{ "scheme": "http", "hosts": [format!("*.example:{port}")], "calls": 100, "network": network }]);
    world.grant(grant("127.0.0.1/32")).await;

    // The second answer would lead elsewhere, and nobody asks for it.
    world.names.set_each("rebinds.example", &[&["127.0.0.1"], &["127.0.0.2"]]);
    assert_eq!(world.get(&format!("rebinds.example:{port}"), "/close").await["error"], "HttpResponseIncomplete");
    assert_eq!((world.names.asked("rebinds.example"), server.connections()), (1, 1));
    assert_eq!(world.get(&format!("rebinds.example:{port}"), "/").await["error"], "DestinationIpProhibited");
    assert_eq!((world.names.asked("rebinds.example"), server.connections()), (2, 1));

    // One address that must not be reached spoils the others.
    world.names.set("mixed.example", &["127.0.0.1", "127.0.0.2"]);
    assert_eq!(world.get(&format!("mixed.example:{port}"), "/").await["error"], "DestinationIpProhibited");
    world.names.set("public-too.example", &["192.0.2.1", "127.0.0.1"]);
    assert_eq!(world.get(&format!("public-too.example:{port}"), "/").await["error"], "DestinationIpProhibited");
    assert_eq!(canary.connections(), 0);

    // An address where nobody listens leaves time for the next.
    world.grant(grant("127.0.0.0/8")).await;
    world.names.set("half-dead.example", &["127.0.0.77", "127.0.0.1"]);
    assert_eq!(world.get(&format!("half-dead.example:{port}"), "/").await["status"], 200);
    // An answer that needs TCP.
    let many: Vec<String> = (0..30).map(|n| format!("127.0.0.{}", 1 + n % 3)).collect();
    world.names.set("many.example", &many.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(world.get(&format!("many.example:{port}"), "/").await["status"], 200);
    assert_eq!(world.get(&format!("unknown.example:{port}"), "/").await["error"], "DnsError");
    world.names.set("nowhere.example", &[]);
    assert_eq!(world.get(&format!("nowhere.example:{port}"), "/").await["error"], "DnsError");
    // The hosts file names this machine, and is not asked.
    let machine = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let machine = format!("{}.example", machine.trim());
    assert_eq!(world.get(&format!("{machine}:{port}"), "/").await["error"], "DnsError");
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_name_servers_are_skipped() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let failing = Names::start().await;
    failing.fail();
    let first = [closed, failing.address, silent.local_addr().expect("an address")];
    let world = World::behind(&first, Options::default()).await;
    let server = Outside::at("127.0.0.1:0").await;
    let port = server.port();
    let hosts = format!("*.example:{port}");
    world.grant(json!([{ "scheme": "http", "hosts": [hosts], "calls": 100, "network": "127.0.0.0/8" }])).await;

    world.names.set("there.example", &["127.0.0.1"]);
    assert_eq!(world.get(&format!("there.example:{port}"), "/").await["status"], 200);
    assert_eq!(world.names.asked("there.example"), 1);
    assert_eq!(world.get(&format!("unknown.example:{port}"), "/").await["error"], "DnsError");
}

#[tokio::test(flavor = "multi_thread")]
async fn alias_is_followed_and_its_target_is_checked() {
    let world = World::new(Options::default()).await;
    let server = Outside::at("127.0.0.1:0").await;
    let port = server.port();
    let hosts = format!("*.example:{port}");
    world.grant(json!([{ "scheme": "http", "hosts": [hosts], "calls": 100, "network": "127.0.0.1/32" }])).await;
    world.names.set("good.elsewhere", &["127.0.0.1"]);
    world.names.set("bad.elsewhere", &["127.0.0.2"]);
    for (alias, to) in [
        ("one.example", "good.elsewhere"),
        ("two.example", "one.example"),
        ("wrong.example", "bad.elsewhere"),
        ("nowhere.example", "unknown.elsewhere"),
        ("round.example", "around.example"),
        ("around.example", "round.example"),
    ] {
        world.names.alias(alias, to);
    }
    assert_eq!(world.get(&format!("one.example:{port}"), "/").await["status"], 200);
    assert_eq!(world.get(&format!("two.example:{port}"), "/").await["status"], 200);
    assert_eq!(world.get(&format!("wrong.example:{port}"), "/").await["error"], "DestinationIpProhibited");
    assert_eq!(world.get(&format!("nowhere.example:{port}"), "/").await["error"], "DnsError");
    assert_eq!(world.get(&format!("round.example:{port}"), "/").await["error"], "DnsError");
    assert_eq!(server.connections(), 2);
}
