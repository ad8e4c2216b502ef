//! Certificates by ACME, from pebble: issued by both challenges with half of the nonces refused, renewed, shared by processes,
//! and not ordered for names that lead elsewhere.

use std::sync::Arc;
use std::time::Duration;

use larder_tests::outside::Authority;
use larder_tests::services::{Pebble, free_port};
use larder_tests::{Api, Backend, Larder, Options, both, eventually, guests, within};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const NAME: &str = "hello.fn.bank.test";

/// An installation whose authority is a pebble.
struct Installation {
    larder: Larder,
    pebble: Pebble,
    /// A client that trusts the pebble's certificates only.
    client: TlsConnector,
    tls: u16,
    redirect: u16,
    options: Options,
    _folder: tempfile::TempDir,
}

impl Installation {
    /// Its certificates are valid for so many seconds, and its authority finds HTTP at this port, if not at ours.
    async fn start(options: Options, seconds: u32, http: Option<u16>) -> Installation {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let certificate = authority.issue_files(folder.path(), &["127.0.0.1"]);
        let (redirect, tls) = (free_port(), free_port());
        let http = http.unwrap_or(redirect);
        let pebble = Pebble::start(&folder.path().join("pebble"), (http, tls), seconds, &certificate);
        let trusted = authority.file(folder.path());
        let options = options
            .set("LARDER_SERVER__FUNCTIONS_DOMAIN", "fn.bank.test")
            .set("LARDER_ACME__DIRECTORY", pebble.directory())
            .set("LARDER_ACME__TERMS_OF_SERVICE_AGREED", "true")
            .set("LARDER_ACME__CONTACT", "ops@bank.test")
            .set("LARDER_ACME__HTTP_PORT", http.to_string())
            .set("LARDER_ACME__POLL", "200ms")
            .set("LARDER_EGRESS__CA_FILE", trusted.to_str().expect("text"))
            .set("LARDER_EGRESS__PRIVATE_NETWORKS", r#"["127.0.0.0/8"]"#)
            .set("LARDER_EGRESS__DNS_SERVERS", format!(r#"["{}"]"#, pebble.dns_server()));
        let serving = options
            .clone()
            .set("LARDER_TLS__LISTEN", format!("127.0.0.1:{tls}"))
            .set("LARDER_TLS__REDIRECT_LISTEN", format!("127.0.0.1:{redirect}"));
        let larder = Larder::start_with(serving).await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = std::fs::read(&trusted).expect("a file");
        let root = reqwest::Certificate::from_pem(&root).expect("a certificate");
        let asking = reqwest::Client::builder().tls_certs_only([root]).build().expect("a client");
        let root = asking.get(pebble.root()).send().await.expect("an answer").bytes().await.expect("a body");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&root).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A session that goes on is shown no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        let client = TlsConnector::from(Arc::new(config));
        Installation { larder, pebble, client, tls, redirect, options, _folder: folder }
    }

    /// A function with a domain.
    async fn deploy(&self) {
        let api = self.larder.api();
        api.deploy("hello", &guests::guest("hello-http"), json!({ "execute": ["any"] })).await;
        api.post("/proxy/rules/function", json!({ "domain": NAME, "functionId": "hello" })).await.is(201);
    }

    fn operator(&self) -> Api {
        self.larder.operator()
    }

    async fn certificate(&self) -> Value {
        self.operator().get(&format!("/operator/certificates/{NAME}")).await.is(200)
    }

    /// Waits until the name has this state.
    async fn becomes(&self, status: &str) -> Value {
        within(Duration::from_secs(60), status, async || {
            let found = self.operator().get(&format!("/operator/certificates/{NAME}")).await;
            (found.status == 200).then(|| found.is(200)).filter(|found| found["status"] == status)
        })
        .await
    }

    /// What the function answers by TLS, and the certificate that was shown; an error if that is not good now.
    async fn call(&self, tls: u16) -> std::io::Result<(String, Vec<u8>)> {
        let stream = TcpStream::connect(("127.0.0.1", tls)).await?;
        let mut stream = self.client.connect(ServerName::try_from(NAME).expect("a name"), stream).await?;
        let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec();
        let request = format!("GET /hello?name=Anna HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok((answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(answer), shown))
    }

    /// Certificates that the authority has given.
    fn issued(&self) -> usize {
        self.pebble.log().matches("Issued certificate").count()
    }
}

both!(a_name_gets_its_certificate_by_itself_and_it_is_renewed, async |on| {
    // A third of it is enough for an order on a busy machine.
    let installation = Installation::start(Options::on(on), 24, None).await;
    assert!(installation.call(installation.tls).await.is_err(), "nothing can be shown yet");
    installation.deploy().await;
    let issued = installation.becomes("valid").await;
    assert_eq!((&issued["failures"], &issued["error"]), (&json!(0), &json!("")), "{issued}");
    let (body, first) =
        eventually("the certificate to be shown", async || installation.call(installation.tls).await.ok()).await;
    assert_eq!(body, "Hello, Anna!\n");
    // Another process has it from the database, and answers challenges too.
    let beside = free_port();
    let other = match on {
        Backend::Embedded => None,
        Backend::Services => {
            let options = installation.options.clone().set("LARDER_TLS__LISTEN", format!("127.0.0.1:{beside}"));
            Some(installation.larder.start_beside(options).await)
        }
    };
    if other.is_some() {
        eventually("the other process", async || installation.call(beside).await.ok()).await;
    }
    // It is renewed at two thirds of its lifetime, and none that has run out is ever shown.
    let renewed = within(Duration::from_secs(60), "a renewal", async || {
        let (_, shown) = installation.call(installation.tls).await.expect("a certificate that is good");
        (shown != first).then_some(shown)
    });
    assert_ne!(renewed.await, first);
    let listed = installation.larder.cli(installation.larder.scratch(), &["certificates", "list"]).await;
    let (code, out, err) = listed;
    assert!(code == 0 && out.contains(NAME) && out.contains("valid"), "{out}{err}");
    let (_, metrics) = installation.larder.internal("/metrics").await;
    assert!(
        metrics.contains(&format!(r#"larder_certificate_expires_timestamp_seconds{{name="{NAME}"}}"#)),
        "{metrics}"
    );
});

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_proved_by_tls_alone() {
    let options = Options::default().set("LARDER_ACME__CHALLENGE", "tls-alpn-01");
    let installation = Installation::start(options, 3600, None).await;
    installation.deploy().await;
    installation.becomes("valid").await;
    let (body, first) = eventually("the certificate", async || installation.call(installation.tls).await.ok()).await;
    assert_eq!(body, "Hello, Anna!\n");
    // It is good for long. An operator may want another one all the same.
    assert_eq!(installation.issued(), 1, "{}", installation.pebble.log());
    installation.operator().post(&format!("/operator/certificates/{NAME}/renewal"), json!({})).await.is(200);
    within(Duration::from_secs(60), "another one", async || {
        let (_, shown) = installation.call(installation.tls).await.expect("a certificate");
        (shown != first).then_some(())
    })
    .await;
    // What nobody wants any more is forgotten.
    let rules = installation.larder.api().get("/proxy/rules").await.is(200);
    let rule = rules["rules"][0]["$id"].as_str().expect("an id").to_owned();
    installation.larder.api().delete(&format!("/proxy/rules/{rule}")).await.is(204);
    eventually("the name to be forgotten", async || {
        let found = installation.operator().get(&format!("/operator/certificates/{NAME}")).await;
        (found.status == 404).then(|| found.is_error(404, "certificate_not_found"))
    })
    .await;
    let unknown = installation.operator().post("/operator/certificates/elsewhere.example/renewal", json!({})).await;
    unknown.is_error(404, "certificate_not_found");
}

both!(nothing_is_ordered_for_a_name_that_leads_elsewhere, async |on| {
    // Somebody else's server, which says yes to everything.
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = elsewhere.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = elsewhere.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        }
    });
    let installation = Installation::start(Options::on(on), 3600, Some(port)).await;
    installation.deploy().await;
    let failed = installation.becomes("failed").await;
    let why = failed["error"].as_str().expect("a reason");
    for named in
        [NAME, "does not lead here", "somebody else answers there", &format!("port {port}"), "tls.redirect_listen"]
    {
        assert!(why.contains(named), "{named}: {why}");
    }
    assert!(!installation.pebble.log().contains("/order-plz"), "{}", installation.pebble.log());
    assert!(installation.certificate().await["due"].as_str() > Some("2026"), "it is tried again later");
    // Nobody is told whether there is a challenge, for whatever name.
    for (host, token) in [(NAME, "guess"), ("elsewhere.example", "guess"), ("demo.localhost", "../../v1")] {
        let url = format!("http://127.0.0.1:{}/.well-known/acme-challenge/{token}", installation.redirect);
        let answer = reqwest::Client::new().get(url).header("host", host).send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{host} {token}");
    }
});

/// Certificates of two minutes, three processes of which one is killed each half minute, and calls to all of them meanwhile.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "five minutes: make certificates"]
async fn certificates_are_renewed_while_processes_die() {
    const LASTS: Duration = Duration::from_secs(300);
    let mut installation = Installation::start(Options::on(Backend::Services), 120, None).await;
    installation.deploy().await;
    installation.becomes("valid").await;
    let mut others = Vec::new();
    for port in [free_port(), free_port()] {
        let options = installation.options.clone().set("LARDER_TLS__LISTEN", format!("127.0.0.1:{port}"));
        others.push((installation.larder.start_beside(options).await, port));
    }
    let ports = [installation.tls, others[0].1, others[1].1];
    for port in ports {
        eventually("all to serve", async || installation.call(port).await.ok()).await;
    }
    let (begun, mut killed, mut calls, mut shown) = (std::time::Instant::now(), 0, 0, std::collections::HashSet::new());
    while begun.elapsed() < LASTS {
        if begun.elapsed().as_secs() / 30 > killed {
            let victim = match killed % 3 {
                0 => &mut installation.larder,
                other => &mut others[other as usize - 1].0,
            };
            victim.kill();
            victim.restart().await;
            killed += 1;
        }
        for port in ports {
            // One that was killed reads its certificate again before it is called.
            let call = async || match installation.call(port).await {
                Ok(answered) => Some(answered),
                Err(err)
                    if err.kind() == std::io::ErrorKind::InvalidData
                        && !err.to_string().contains("UnrecognisedName") =>
                {
                    panic!("a certificate that is not good: {err}")
                }
                Err(_) => None,
            };
            let (body, certificate) = eventually("an answer", call).await;
            assert_eq!(body, "Hello, Anna!\n");
            calls += 1;
            shown.insert(certificate);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Every 80 s: two orders of which one was not needed would show.
    let issued = installation.issued();
    println!("{calls} calls, {killed} kills, {issued} certificates, {} of them seen", shown.len());
    assert!(killed >= 9 && (4..=5).contains(&issued) && shown.len() == issued, "{}", installation.pebble.log());
}
