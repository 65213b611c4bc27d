use super::origin::{Origin, Trust};
use super::tap::{Framing, Tap, TapSlot, TappedSocket, TappingTls};
use super::tls;
use crate::error::{Error, Result, with_causes};
use crate::local::network::Network;
use conninfo::{ConnInfo, Host, SslMode};
use pgrx::prelude::*;
use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, SslMode as WireSslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls};

/// How long the end of a connection may take.
const LONGEST_GOODBYE: Duration = Duration::from_millis(100);

/// Before a failed connection is tried again; each time twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A client, the tap of its socket, and the task that drives it.
type Connected = (Client, Tap, JoinHandle<()>);

/// A connection, driven by a runtime of its own on the calling thread.
pub(super) struct Connection {
    /// Until the connection ends.
    client: Option<Client>,
    /// COPY data arrives here and not at the client.
    pub(super) tap: Tap,
    /// The client library's own work.
    driver: JoinHandle<()>,
    network: Network,
}

impl Drop for Connection {
    /// Says goodbye, so that the source's log does not speak of a lost client.
    fn drop(&mut self) {
        // In an ERROR there is no time for it.
        if !std::thread::panicking() {
            drop(self.client.take());
            let driver = &mut self.driver;
            let _ = self.network.wait_at_most(LONGEST_GOODBYE, driver);
        }
    }
}

impl Connection {
    /// Tries the hosts in their order, and all of them again for a while where the reason may pass.
    pub(super) fn open(origin: &Origin) -> Result<Self> {
        let network = Network::start()?;
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match open_any_host(&network, origin) {
                Ok((client, tap, driver)) => return Ok(Self { client: Some(client), tap, driver, network }),
                Err(failure) if !failure.passing || started.elapsed() + pause > origin.patience => {
                    return Err(failure.error);
                }
                Err(_) => network.wait(async { tokio::time::sleep(pause).await }),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub(super) fn client(&self) -> &Client {
        self.client.as_ref().expect("only dropping takes it")
    }

    /// Waits for the source without blocking the server's interrupts: a cancel or a termination raises its ERROR here.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.network.wait(future)
    }
}

fn describe(host: &Host) -> String {
    if host.is_socket_directory() {
        format!("socket \"{}/.s.PGSQL.{}\"", host.name, host.port)
    } else {
        format!("\"{}\", port {}", host.name, host.port)
    }
}

fn open_any_host(network: &Network, origin: &Origin) -> std::result::Result<Connected, Failure> {
    let wanted = origin.info.target_session_attrs.as_deref().unwrap_or("any");
    let rounds = if wanted == "prefer-standby" { vec!["standby", "any"] } else { vec![wanted] };
    let mut failures: Vec<(&Host, Failure)> = Vec::new();
    for wanted in rounds {
        failures.clear();
        for host in &origin.info.hosts {
            match open_host(network, origin, host, wanted) {
                Ok(connected) => return Ok(connected),
                Err(failure) => {
                    let is_final = failure.answered && !failure.passing;
                    failures.push((host, failure));
                    // As libpq: a server that refuses us has spoken for all of them.
                    if is_final {
                        break;
                    }
                }
            }
        }
    }
    let passing = failures.iter().any(|(_, failure)| failure.passing);
    // What a server said is worth more than that others were not there.
    let told = failures.iter().position(|(_, failure)| failure.answered).unwrap_or(0);
    let (host, Failure { mut error, answered, .. }) = failures.remove(told);
    error.message = format!("could not connect to the source at {}: {}", describe(host), error.message);
    for (host, other) in failures {
        error = error.detail(format!("{}: {}", describe(host), other.error.message));
    }
    Err(Failure { error, answered, passing })
}

fn open_host(network: &Network, origin: &Origin, host: &Host, wanted: &str) -> std::result::Result<Connected, Failure> {
    let (client, tap, driver) = connect(network, &origin.info, host)?;
    // A source that lets us in without it has trusted the server's own identity, not the caller.
    if origin.trust == Trust::PasswordRequired && !tap.password_was_asked() {
        let error =
            Error::new(PgSqlErrorCode::ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED, "password is required")
                .detail("Non-superusers cannot connect if the source does not request a password.")
                .hint("The source's authentication method must be changed.");
        return Err(Failure { error, answered: true, passing: false });
    }
    if wanted != "any" {
        refuse_other_session(network, &client, wanted)?;
    }
    Ok((client, tap, driver))
}

fn connect(network: &Network, info: &ConnInfo, host: &Host) -> std::result::Result<Connected, Failure> {
    let config = configuration(info);
    let attempts: &[WireSslMode] = match info.ssl_mode {
        // As in libpq, encryption is not for Unix sockets.
        _ if host.is_socket_directory() => &[WireSslMode::Disable],
        SslMode::Disable => &[WireSslMode::Disable],
        SslMode::Allow => &[WireSslMode::Disable, WireSslMode::Require],
        SslMode::Prefer => &[WireSslMode::Prefer, WireSslMode::Disable],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[WireSslMode::Require],
    };
    let mut first = None;
    for &mode in attempts {
        let mut config = config.clone();
        config.ssl_mode(mode);
        let attempt = attempt(network.runtime(), info, host, &config, mode);
        let connected = network.wait(async {
            match info.connect_timeout {
                Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds.into()), attempt)
                    .await
                    .unwrap_or_else(|_| Err(Failure::unanswered("timeout expired".to_owned(), true))),
                None => attempt.await,
            }
        });
        match connected {
            Ok(connected) => return Ok(connected),
            Err(failure) => {
                let answered = failure.answered && !failure.is_access_rule();
                first.get_or_insert(failure);
                if answered {
                    break;
                }
            }
        }
    }
    Err(first.expect("there is at least one attempt"))
}

/// Why an attempt failed.
struct Failure {
    error: Error,
    /// Whether a server has said so.
    answered: bool,
    /// Whether it may be otherwise in a moment.
    passing: bool,
}

impl Failure {
    fn unanswered(message: String, passing: bool) -> Self {
        let error = Error::new(PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, message);
        Self { error, answered: false, passing }
    }

    /// Of our own making: files that cannot be used and the like.
    fn own(error: Error) -> Self {
        Self { error, answered: true, passing: false }
    }

    /// What a server answered will not change with encryption, except for its access rules.
    fn is_access_rule(&self) -> bool {
        self.error.sqlstate == packed_sqlstate("28000")
    }

    fn from_library(error: &tokio_postgres::Error, tap: &Tap, has_password: bool) -> Self {
        if let Some(code) = error.code() {
            return Self { error: query_error(error), answered: true, passing: PASSING.contains(&code.code()) };
        }
        if !has_password && tap.password_was_asked() {
            return Self::own(
                Error::new(PgSqlErrorCode::ERRCODE_INVALID_PASSWORD, "the source asks for a password")
                    .hint("Give it in the connection string or, better, in the user mapping of a foreign server."),
            );
        }
        Self::unanswered(with_causes(error), error.is_closed() || has_network_cause(error))
    }
}

/// Servers that are starting, ending, or full.
const PASSING: [&str; 4] = ["57P01", "57P02", "57P03", "53300"];

/// Whether the connection broke; not whether something is wrong with what was said over it.
fn has_network_cause(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if let Some(error) = inner.downcast_ref::<std::io::Error>() {
            return is_network_trouble(error);
        }
        cause = inner.source();
    }
    false
}

fn is_network_trouble(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionRefused
            | ConnectionReset
            | ConnectionAborted
            | NotConnected
            | BrokenPipe
            | TimedOut
            | UnexpectedEof
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
            // A socket comes and goes with its server.
            | NotFound
    ) || error.to_string().contains("Temporary failure in name resolution")
}

async fn attempt(
    runtime: &Runtime,
    info: &ConnInfo,
    host: &Host,
    config: &Config,
    mode: WireSslMode,
) -> std::result::Result<Connected, Failure> {
    let framing = if mode == WireSslMode::Disable { Framing::Messages } else { Framing::TlsAnswerFirst };
    let tap = open_socket(info, host, framing)
        .await
        .map_err(|error| Failure::unanswered(error.to_string(), is_network_trouble(&error)))?;
    let has_password = info.password.is_some();
    if mode == WireSslMode::Disable {
        let connected = config.connect_raw(tap.socket(), NoTls).await;
        let (client, connection) = connected.map_err(|error| Failure::from_library(&error, &tap, has_password))?;
        return Ok((client, tap, runtime.spawn(drive(connection))));
    }
    let slot = TapSlot::default();
    let connector = tls::connector(info)
        .and_then(|mut connector| {
            MakeTlsConnect::<TappedSocket>::make_tls_connect(&mut connector, &host.name).map_err(tls::tls_error)
        })
        .map_err(Failure::own)?;
    let tls = TappingTls { connector, slot: TapSlot::clone(&slot), allowed: info.require_auth };
    let connected = config.connect_raw(tap.socket(), tls).await;
    // Without an inner tap, the server did not want encryption.
    let inner = slot.lock().ok().and_then(|mut slot| slot.take()).unwrap_or(tap);
    let (client, connection) = connected.map_err(|error| Failure::from_library(&error, &inner, has_password))?;
    Ok((client, inner, runtime.spawn(drive(connection))))
}

/// What ends a connection early is told to whoever uses it.
async fn drive(connection: impl Future<Output = std::result::Result<(), tokio_postgres::Error>>) {
    let _ = connection.await;
}

/// Tries a host's addresses in their order.
async fn open_socket(info: &ConnInfo, host: &Host, framing: Framing) -> std::io::Result<Tap> {
    if host.is_socket_directory() {
        let socket = UnixStream::connect(format!("{}/.s.PGSQL.{}", host.name, host.port)).await?;
        return Ok(Tap::new(socket, framing, info.require_auth));
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
                return Ok(Tap::new(socket, framing, info.require_auth));
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| std::io::Error::other("the host name has no address")))
}

/// What the system takes.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

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
    // The system sends no keepalives while it waits for what was sent to be acknowledged, and would do so for 15 minutes.
    let timeout = info.tcp_user_timeout.map(|milliseconds| Duration::from_millis(milliseconds.into()));
    if let Some(timeout) = timeout.or(longest_silence) {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// As libpq understands `target_session_attrs`.
fn refuse_other_session(network: &Network, client: &Client, wanted: &str) -> std::result::Result<(), Failure> {
    let query = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'";
    let messages = network.wait(client.simple_query(query)).map_err(|error| Failure {
        passing: error.code().is_none_or(|code| PASSING.contains(&code.code())),
        error: query_error(&error),
        answered: false,
    })?;
    let row = messages.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some((row.get(0) == Some("t"), row.get(1) == Some("t"))),
        _ => None,
    });
    let (standby, read_only) = row.unwrap_or_default();
    let fits = match wanted {
        "read-write" => !read_only,
        "read-only" => read_only,
        "primary" => !standby,
        "standby" => standby,
        _ => true,
    };
    if fits {
        return Ok(());
    }
    Err(Failure::unanswered(format!("the server is not what target_session_attrs={wanted} asks for"), false))
}

fn configuration(info: &ConnInfo) -> Config {
    let mut config = Config::new();
    if let Some(password) = &info.password {
        config.password(password);
    }
    config.user(info.user.as_deref().unwrap_or("postgres"));
    if let Some(database) = info.database.as_ref().or(info.user.as_ref()) {
        config.dbname(database);
    }
    config.application_name(info.application_name.as_deref().unwrap_or("pgcopy"));
    if let Some(options) = &info.options {
        config.options(options);
    }
    config.channel_binding(match info.channel_binding.as_deref() {
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        _ => ChannelBinding::Prefer,
    });
    config
}

/// What the source, or the way to it, said.
pub(super) fn query_error(error: &tokio_postgres::Error) -> Error {
    let Some(answer) = error.as_db_error() else {
        return Error::new(
            PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
            format!("lost the connection to the source: {}", with_causes(error)),
        );
    };
    Error {
        sqlstate: packed_sqlstate(answer.code().code()),
        message: format!("the source reports: {}", answer.message()),
        detail: answer.detail().map(str::to_owned),
        hint: answer.hint().map(str::to_owned),
    }
}

/// As the macro `MAKE_SQLSTATE` packs five characters.
fn packed_sqlstate(code: &str) -> i32 {
    code.bytes()
        .take(5)
        .enumerate()
        .fold(0, |packed, (position, byte)| packed | ((i32::from(byte) - i32::from(b'0')) & 0x3f) << (6 * position))
}
