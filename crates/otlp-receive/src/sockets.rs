//! The sockets that receivers listen on, found again by whoever listens there next.
//!
//! Accepts nothing. Keeps true: an address of this process is bound once; between one receiver and its successor the kernel
//! keeps connections waiting.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::ReceiveError;

/// An address that is listened on until the last clone goes.
#[derive(Debug, Clone)]
pub struct Listening {
    listener: Arc<TcpListener>,
    address: SocketAddr,
}

/// All of a process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<BTreeMap<String, Weak<TcpListener>>>>);

impl Sockets {
    /// The socket that listens at `address` (`host:port`, or `:port` for every address of the machine), there already or
    /// new. `what` is for messages. Looks names up.
    pub fn listen(&self, what: &str, address: &str) -> Result<Listening, ReceiveError> {
        let failed = |source| ReceiveError::Listen { what: what.to_owned(), address: address.to_owned(), source };
        let mut known = self.0.lock();
        known.retain(|_, listener| listener.strong_count() > 0);
        // A port that the kernel chooses is another one each time.
        let held = known.get(address).filter(|_| !address.ends_with(":0")).and_then(Weak::upgrade);
        let listener = match held {
            Some(listener) => listener,
            None => {
                let listener = Arc::new(bind(address).map_err(failed)?);
                known.insert(address.to_owned(), Arc::downgrade(&listener));
                listener
            }
        };
        let address = listener.local_addr().map_err(failed)?;
        Ok(Listening { listener, address })
    }
}

impl Listening {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn accepting(&self) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::from_std(self.listener.try_clone()?)
    }
}

fn bind(address: &str) -> io::Result<TcpListener> {
    let bound = match address.strip_prefix(':') {
        None => TcpListener::bind(address),
        // As Go reads it: every address, of both families where the machine has both.
        Some(port) => TcpListener::bind(format!("[::]:{port}")).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => TcpListener::bind(format!("0.0.0.0:{port}")),
        }),
    }?;
    bound.set_nonblocking(true)?;
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_gets_the_same_socket_and_a_stranger_is_refused() {
        let sockets = Sockets::default();
        let address = sockets.listen("otlp (grpc)", "127.0.0.1:0").unwrap().address().to_string();
        let held = sockets.listen("otlp (grpc)", &address).unwrap();
        let again = sockets.listen("otlp (grpc)", &address).unwrap();
        assert!(Arc::ptr_eq(&held.listener, &again.listener));
        let stranger = Sockets::default().listen("otlp (grpc)", &address).unwrap_err();
        assert!(stranger.to_string().contains("another process"), "{stranger}");
        drop((held, again));
        Sockets::default().listen("otlp (grpc)", &address).unwrap();
    }
}
