//! Sockets to a source's hosts.

use super::tap::{Framing, Tap};
use conninfo::{ConnInfo, Host};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream, lookup_host};

/// The ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// A socket of the file system.
    Local,
    Addresses {
        ours: SocketAddr,
        theirs: SocketAddr,
    },
}

impl Ends {
    /// Returns the port of our end that a server on this machine must see, 0 for a socket of the file system, where the other end
    /// is on this machine. What listens there may be a tunnel, which the server tells from us by the port.
    pub(super) fn port_on_this_machine(self) -> Option<u16> {
        match self {
            Self::Local => Some(0),
            Self::Addresses { ours, theirs } if ours.ip() == theirs.ip() => Some(ours.port()),
            Self::Addresses { .. } => None,
        }
    }
}

/// Opens a socket to the first of a host's addresses that answers, in their order.
pub(super) async fn open_socket(info: &ConnInfo, host: &Host, framing: Framing) -> std::io::Result<Tap> {
    if host.is_socket_directory() {
        let socket = UnixStream::connect(format!("{}/.s.PGSQL.{}", host.name, host.port)).await?;
        return Ok(Tap::new(socket, framing, info.require_auth, Some(Ends::Local)));
    }
    let target = match &host.address {
        Some(address) => {
            let address: IpAddr = address
                .parse()
                .map_err(|_| std::io::Error::other(format!("\"{address}\" is not a network address")))?;
            address.to_string()
        }
        None => host.name.clone(),
    };
    let mut failure = None;
    for address in lookup_host((target.as_str(), host.port)).await? {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                set_tcp_options(&socket, info)?;
                let ends = Ends::Addresses { ours: socket.local_addr()?, theirs: socket.peer_addr()? };
                return Ok(Tap::new(socket, framing, info.require_auth, Some(ends)));
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| std::io::Error::other("the host name has no address")))
}

/// The longest timeout that the system takes.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

fn set_tcp_options(socket: &TcpStream, info: &ConnInfo) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket2::SockRef::from(socket);
    let mut longest_silence = None;
    if info.keepalives {
        let idle = Duration::from_secs(info.keepalives_idle.unwrap_or(60).into());
        let interval = Duration::from_secs(info.keepalives_interval.unwrap_or(10).into());
        let retries = info.keepalives_count.unwrap_or(6);
        let keepalive = socket2::TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(retries);
        socket.set_tcp_keepalive(&keepalive)?;
        longest_silence = Some((idle + interval * retries).min(LONGEST_TIMEOUT));
    }
    // The system sends no keepalives while sent data is not acknowledged, and would wait for 15 minutes.
    let timeout = info.tcp_user_timeout.map(|milliseconds| Duration::from_millis(milliseconds.into()));
    if let Some(timeout) = timeout.or(longest_silence) {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}
