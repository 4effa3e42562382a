//! The sockets that receivers listen on, found again by whoever listens there next.
//!
//! Accepts and reads nothing. Keeps true: an address of this process is bound once; between one listener and its successor
//! the kernel keeps connections and datagrams waiting.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

/// What a socket takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Transport {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// An address that is listened on until the last clone goes.
#[derive(Debug, Clone)]
pub struct Listening {
    socket: Arc<Socket>,
    address: SocketAddr,
}

type Known = BTreeMap<(String, Transport, String), Weak<Socket>>;

/// All of a process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Sockets(Arc<Mutex<Known>>);

impl Sockets {
    /// The socket that listens at `address` (`host:port`, or `:port` for every address of the machine), there already or
    /// new. `what` says who listens (`syslog`): only its like is a successor. Blocking: may look up a name.
    pub fn listen(&self, what: &str, transport: Transport, address: &str) -> io::Result<Listening> {
        let mut known = self.0.lock();
        known.retain(|_, socket| socket.strong_count() > 0);
        let key = (what.to_owned(), transport, address.to_owned());
        // A port that the kernel chooses is another one each time.
        let held = known.get(&key).filter(|_| !address.ends_with(":0")).and_then(Weak::upgrade);
        let socket = match held {
            Some(socket) => socket,
            None => {
                let socket = Arc::new(bind(transport, address)?);
                known.insert(key, Arc::downgrade(&socket));
                socket
            }
        };
        let address = match &*socket {
            Socket::Tcp(listener) => listener.local_addr(),
            Socket::Udp(socket) => socket.local_addr(),
        };
        Ok(Listening { address: address?, socket })
    }
}

impl Listening {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its connections; those of all clones come from one queue. Must be called within a runtime.
    pub fn tcp(&self) -> io::Result<tokio::net::TcpListener> {
        match &*self.socket {
            Socket::Tcp(listener) => tokio::net::TcpListener::from_std(listener.try_clone()?),
            Socket::Udp(_) => Err(io::Error::other("this socket takes datagrams")),
        }
    }

    /// Its datagrams. Must be called within a runtime.
    pub fn udp(&self) -> io::Result<tokio::net::UdpSocket> {
        match &*self.socket {
            Socket::Udp(socket) => tokio::net::UdpSocket::from_std(socket.try_clone()?),
            Socket::Tcp(_) => Err(io::Error::other("this socket takes connections")),
        }
    }
}

fn bind(transport: Transport, address: &str) -> io::Result<Socket> {
    let Some(port) = address.strip_prefix(':') else { return bind_one(transport, address) };
    // As Go reads it: every address, of both families where the machine has both.
    bind_one(transport, &format!("[::]:{port}")).or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => bind_one(transport, &format!("0.0.0.0:{port}")),
    })
}

fn bind_one(transport: Transport, address: &str) -> io::Result<Socket> {
    match transport {
        Transport::Tcp => {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Socket::Tcp(listener))
        }
        Transport::Udp => {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(Socket::Udp(socket))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_gets_the_same_socket_and_a_stranger_is_refused() {
        let sockets = Sockets::default();
        let first = sockets.listen("syslog", Transport::Tcp, "127.0.0.1:0").unwrap();
        let address = first.address().to_string();
        drop(first);
        let held = sockets.listen("syslog", Transport::Tcp, &address).unwrap();
        let again = sockets.listen("syslog", Transport::Tcp, &address).unwrap();
        assert!(Arc::ptr_eq(&held.socket, &again.socket));
        let stranger = Sockets::default().listen("syslog", Transport::Tcp, &address).unwrap_err();
        assert_eq!(stranger.kind(), io::ErrorKind::AddrInUse);
        let other = sockets.listen("otlp", Transport::Tcp, &address).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::AddrInUse, "what listens otherwise is no successor");
        // Datagrams are another matter.
        sockets.listen("syslog", Transport::Udp, &address).unwrap();
        drop((held, again));
        Sockets::default().listen("syslog", Transport::Tcp, &address).unwrap();
    }

    #[test]
    fn a_port_alone_is_every_address() {
        let all = Sockets::default().listen("syslog", Transport::Udp, ":0").unwrap();
        assert!(all.address().ip().is_unspecified());
    }
}
