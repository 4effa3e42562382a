//! A server that answers with exactly the bytes it is told to, and tells what it saw.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

/// What happens after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next request is read.
    Go,
    Close,
    /// The connection stays open, silent.
    Hang,
}

/// One request as it arrived: the number of its connection and its head.
#[derive(Debug, Clone)]
pub struct Seen {
    pub connection: usize,
    pub head: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().filter_map(|l| l.split_once(": ")).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }
}

pub struct Scripted {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// The number of each connection that ended, by either side.
    pub ended: mpsc::UnboundedReceiver<usize>,
}

impl Scripted {
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The connection that each request came over.
    pub fn connections(&self) -> Vec<usize> {
        self.seen().iter().map(|s| s.connection).collect()
    }

    pub fn url(&self) -> String {
        format!("http://{}/metrics", self.addr)
    }
}

/// `script` gives the answer to each request, by its number over all connections.
pub async fn scripted(script: impl Fn(usize) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Scripted {
    scripted_at("127.0.0.1:0", script).await
}

pub async fn scripted_at(address: &str, script: impl Fn(usize) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Scripted {
    let listener = TcpListener::bind(address).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (told, ended) = mpsc::unbounded_channel();
    let script = Arc::new(script);
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        for connection in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let (seen, script, told) = (Arc::clone(&all), Arc::clone(&script), told.clone());
            tokio::spawn(async move {
                'requests: loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => break 'requests,
                        }
                    }
                    let number = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(Seen { connection, head: String::from_utf8(head).unwrap() });
                        seen.len() - 1
                    };
                    let (bytes, then) = script(number);
                    if stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                    match then {
                        Then::Go => {}
                        Then::Close => break,
                        Then::Hang => {
                            // Until the client goes.
                            let _ = stream.read_u8().await;
                            break;
                        }
                    }
                }
                drop(stream);
                let _ = told.send(connection);
            });
        }
    });
    Scripted { addr, seen, ended }
}

/// A whole answer with a length.
pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
