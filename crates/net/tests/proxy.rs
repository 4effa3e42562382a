//! Proxies on loopback: which requests they carry, and how their refusals read.

mod support;

use net::Client;
use net::ClientOptions;
use net::HttpClientConfig;
use net::ProxyConfig;
use net::ProxyEnvironment;
use net::Secret;
use support::*;

#[tokio::test]
async fn the_environment_proxy_carries_aws_hosts_even_when_it_is_on_loopback() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&[AMP]), None).await;
    let proxy = proxy(server.addr, "HTTP/1.1 200 Connection established\r\n\r\n").await;
    let address = format!("http://us%65r:p%40ss@{}", proxy.addr);
    let environment = ProxyEnvironment::from_lookup(&|name| (name == "HTTPS_PROXY").then(|| address.clone()));
    let options = ClientOptions { proxy_environment: Some(environment), ..ClientOptions::default() };
    let config = HttpClientConfig { proxy: ProxyConfig::Environment, ..with_tls(trusting(&ca)) };
    let client = Client::new(&config, options).unwrap();
    assert_eq!(fetch(&client, &format!("https://{AMP}/")).await.unwrap().body, "hello");
    let head = proxy.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with(&format!("CONNECT {AMP}:443 HTTP/1.1")), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic dxnlcjpwqhnz"), "{head}");

    // A destination on loopback does not go there.
    let local = https(hello(), ca.issue(&["127.0.0.1", "localhost"]), None).await;
    fetch(&client, &format!("https://localhost:{}/", local.addr.port())).await.unwrap();
    assert_eq!(proxy.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_configured_proxy_gets_its_connect_headers_and_respects_no_proxy() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&[AMP, "127.0.0.1"]), None).await;
    let proxy = proxy(server.addr, "HTTP/1.1 200 ok\r\n\r\n").await;
    let config = |no_proxy: &str| HttpClientConfig {
        proxy: ProxyConfig::Url {
            url: format!("http://{}", proxy.addr).parse().unwrap(),
            no_proxy: no_proxy.to_owned(),
            connect_headers: vec![("X-Team".to_owned(), Secret::new("blue"))],
        },
        ..with_tls(trusting(&ca))
    };
    assert_eq!(fetch(&client(&config("")), &format!("https://{AMP}/")).await.unwrap().body, "hello");
    let head = proxy.heads.lock().unwrap()[0].to_lowercase();
    assert!(head.contains("x-team: blue"), "{head}");

    fetch(&client(&config("127.0.0.0/8")), &format!("https://{}/", server.addr)).await.unwrap();
    assert_eq!(proxy.heads.lock().unwrap().len(), 1);
    // A configured proxy, unlike one of the environment, is obeyed for loopback too.
    fetch(&client(&config("")), &format!("https://{}/", server.addr)).await.unwrap();
    assert_eq!(proxy.heads.lock().unwrap().len(), 2);
    // Plain HTTP is forwarded in absolute form.
    assert_eq!(fetch(&client(&config("")), "http://plain.example/x").await.unwrap().body, "forwarded");
    assert!(proxy.heads.lock().unwrap()[2].starts_with("GET http://plain.example/x HTTP/1.1"));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_blamed_without_its_password() {
    for (answer, expected) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "user name and password"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "refused to open a tunnel"),
    ] {
        let proxy = proxy("127.0.0.1:1".parse().unwrap(), answer).await;
        let config = HttpClientConfig {
            proxy: ProxyConfig::Url {
                url: format!("http://u:hunter2@{}", proxy.addr).parse().unwrap(),
                no_proxy: String::new(),
                connect_headers: Vec::new(),
            },
            ..HttpClientConfig::default()
        };
        let error = fetch(&client(&config), &format!("https://{AMP}/")).await.unwrap_err();
        assert_eq!(error.kind(), "proxy", "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}

/// The whole of it as a person has it: variables of the process, read by a process that starts with them.
#[tokio::test]
async fn the_variables_of_the_process_give_proxy_and_trusted_authority() {
    let name = "the_variables_of_the_process_give_proxy_and_trusted_authority";
    if std::env::var("TEST_CHILD").is_ok_and(|v| v == name) {
        let config = HttpClientConfig { proxy: ProxyConfig::Environment, ..HttpClientConfig::default() };
        let reply = fetch(&client(&config), &format!("https://{AMP}/")).await;
        assert_eq!(reply.unwrap().body, "hello");
        return;
    }
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&[AMP]), None).await;
    let proxy = proxy(server.addr, "HTTP/1.1 200 ok\r\n\r\n").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &ca.pem).unwrap();
    let run = |variables: Vec<(&'static str, String)>| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--test-threads", "1"]);
        for (variable, _) in std::env::vars() {
            if variable.to_lowercase().ends_with("_proxy") || variable.starts_with("SSL_CERT_") {
                command.env_remove(variable);
            }
        }
        command.env("TEST_CHILD", name).envs(variables);
        tokio::task::spawn_blocking(move || command.output().unwrap().status.success())
    };
    let authority = ("SSL_CERT_FILE", file.display().to_string());
    let through = ("https_proxy", format!("http://{}", proxy.addr));
    assert!(run(vec![authority.clone(), through.clone()]).await.unwrap());
    assert_eq!(proxy.heads.lock().unwrap().len(), 1);
    assert!(!run(vec![through]).await.unwrap(), "without the authority nothing is trusted");
}
