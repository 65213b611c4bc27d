use super::tap::{Framing, Tap, TapSlot, TappedSocket, TappingTls};
use super::tls;
use crate::error::{Error, Result};
use crate::local::interrupts;
use conninfo::{ConnInfo, Host, SslMode};
use pgrx::prelude::*;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, SslMode as WireSslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls};

/// How long a network wait may go without looking at the server's interrupt flags.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);
/// How long the end of a connection may take.
const LONGEST_GOODBYE: Duration = Duration::from_millis(100);

/// A client, the tap of its socket, and the task that drives it.
type Connected = (Client, Tap, JoinHandle<()>);

/// Whether the caller may use what belongs to the server's operating-system user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Superuser,
    /// Must give a password that the source really asks for, and may name no files: the rules of dblink.
    PasswordRequired,
}

/// A connection, driven by a runtime of its own on the calling thread.
pub(super) struct Connection {
    /// Until the connection ends.
    client: Option<Client>,
    /// COPY data arrives here and not at the client.
    pub(super) tap: Tap,
    /// The client library's own work.
    driver: JoinHandle<()>,
    runtime: Runtime,
}

impl Drop for Connection {
    /// Says goodbye, so that the source's log does not speak of a lost client.
    fn drop(&mut self) {
        // In an ERROR there is no time for it.
        if !std::thread::panicking() {
            drop(self.client.take());
            let driver = &mut self.driver;
            let _ = self.runtime.block_on(async { tokio::time::timeout(LONGEST_GOODBYE, driver).await });
        }
    }
}

impl Connection {
    /// Tries the hosts in their order.
    pub(super) fn open(info: &ConnInfo, trust: Trust) -> Result<Self> {
        if trust == Trust::PasswordRequired {
            refuse_without_password(info)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| Error::internal(format!("could not start the network runtime: {error}")))?;
        let mut failures = Vec::new();
        for host in &info.hosts {
            match open_host(&runtime, info, host, trust) {
                Ok((client, tap, driver)) => return Ok(Self { client: Some(client), tap, driver, runtime }),
                Err(error) => failures.push((host, error)),
            }
        }
        let (first_host, first) = failures.swap_remove(0);
        let mut error = first;
        error.message = format!("could not connect to the source at {}: {}", describe(first_host), error.message);
        for (host, other) in failures {
            error = error.detail(format!("{}: {}", describe(host), other.message));
        }
        Err(error)
    }

    pub(super) fn client(&self) -> &Client {
        self.client.as_ref().expect("only dropping takes it")
    }

    /// Waits for the source without blocking the server's interrupts: a cancel or a termination raises its ERROR here.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        wait(&self.runtime, future)
    }
}

fn wait<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        let tick = runtime.block_on(async { tokio::time::timeout(INTERRUPT_INTERVAL, future.as_mut()).await });
        if let Ok(value) = tick {
            return value;
        }
        interrupts::check();
    }
}

fn describe(host: &Host) -> String {
    if host.is_socket_directory() {
        format!("socket \"{}/.s.PGSQL.{}\"", host.name, host.port)
    } else {
        format!("\"{}\", port {}", host.name, host.port)
    }
}

fn refuse_without_password(info: &ConnInfo) -> Result<()> {
    if info.password.is_none() {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED,
            "password is required",
        )
        .detail("Non-superusers must provide a password in the connection string or the user mapping."));
    }
    for (parameter, value) in
        [("sslrootcert", &info.ssl_root_cert), ("sslcert", &info.ssl_cert), ("sslkey", &info.ssl_key)]
    {
        if value.as_deref().is_some_and(|value| value != "system") {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                format!("permission denied to use connection parameter \"{parameter}\""),
            )
            .detail("Only superusers may name files of the server."));
        }
    }
    Ok(())
}

fn open_host(runtime: &Runtime, info: &ConnInfo, host: &Host, trust: Trust) -> Result<Connected> {
    let mut config = configuration(info);
    if trust == Trust::PasswordRequired {
        // A source that lets us in without it would have trusted the server's own identity, not the caller.
        if connect(runtime, info, host, &config).is_ok() {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED,
                "password is required",
            )
            .detail("Non-superusers cannot connect if the source does not request a password.")
            .hint("The source's authentication method must be changed."));
        }
    }
    if let Some(password) = &info.password {
        config.password(password);
    }
    let (client, tap, driver) = connect(runtime, info, host, &config)?;
    if let Some(wanted) = info.target_session_attrs.as_deref() {
        refuse_other_session(runtime, &client, wanted)?;
    }
    Ok((client, tap, driver))
}

fn connect(runtime: &Runtime, info: &ConnInfo, host: &Host, config: &Config) -> Result<Connected> {
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
        let attempt = attempt(runtime, info, host, &config, mode);
        let connected = wait(runtime, async {
            match info.connect_timeout {
                // As in libpq, zero waits for as long as it takes.
                Some(seconds) if seconds > 0 => {
                    tokio::time::timeout(Duration::from_secs(seconds.into()), attempt).await.unwrap_or_else(|_| {
                        Err(Failure::unanswered(Error::new(
                            PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
                            "timeout expired",
                        )))
                    })
                }
                _ => attempt.await,
            }
        });
        match connected {
            Ok(connected) => return Ok(connected),
            Err(failure) => {
                first.get_or_insert(failure.error);
                if failure.answered {
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
    /// What a server answered will not change with encryption, except for its access rules.
    answered: bool,
}

impl Failure {
    fn unanswered(error: Error) -> Self {
        Self { error, answered: false }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let access_rule = error.code().is_some_and(|code| code.code() == "28000");
        Self { answered: error.as_db_error().is_some() && !access_rule, error: connection_error(&error) }
    }
}

async fn attempt(
    runtime: &Runtime,
    info: &ConnInfo,
    host: &Host,
    config: &Config,
    mode: WireSslMode,
) -> std::result::Result<Connected, Failure> {
    let framing = if mode == WireSslMode::Disable { Framing::Messages } else { Framing::TlsAnswerFirst };
    let tap = open_socket(info, host, framing).await.map_err(|error| {
        Failure::unanswered(Error::new(
            PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
            error.to_string(),
        ))
    })?;
    if mode == WireSslMode::Disable {
        let (client, connection) = config.connect_raw(tap.socket(), NoTls).await?;
        return Ok((client, tap, runtime.spawn(drive(connection))));
    }
    let slot = TapSlot::default();
    let connector = tls::connector(info)
        .and_then(|mut connector| {
            MakeTlsConnect::<TappedSocket>::make_tls_connect(&mut connector, &host.name).map_err(tls::tls_error)
        })
        .map_err(Failure::unanswered)?;
    let tls = TappingTls { connector, slot: TapSlot::clone(&slot) };
    let (client, connection) = config.connect_raw(tap.socket(), tls).await?;
    let driver = runtime.spawn(drive(connection));
    // Without an inner tap, the server did not want encryption.
    let inner = slot.lock().ok().and_then(|mut slot| slot.take());
    Ok((client, inner.unwrap_or(tap), driver))
}

/// What ends a connection early is told to whoever uses it.
async fn drive(connection: impl Future<Output = std::result::Result<(), tokio_postgres::Error>>) {
    let _ = connection.await;
}

/// Tries a host's addresses in their order.
async fn open_socket(info: &ConnInfo, host: &Host, framing: Framing) -> std::io::Result<Tap> {
    if host.is_socket_directory() {
        let socket = UnixStream::connect(format!("{}/.s.PGSQL.{}", host.name, host.port)).await?;
        return Ok(Tap::new(socket, framing));
    }
    let mut failure = None;
    for address in lookup_host((host.name.as_str(), host.port)).await? {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                set_tcp_options(&socket, info)?;
                return Ok(Tap::new(socket, framing));
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| std::io::Error::other("the host name has no address")))
}

fn set_tcp_options(socket: &TcpStream, info: &ConnInfo) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    if info.keepalives {
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(info.keepalives_idle.unwrap_or(60).into()))
            .with_interval(Duration::from_secs(info.keepalives_interval.unwrap_or(10).into()))
            .with_retries(info.keepalives_count.unwrap_or(6));
        socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive)?;
    }
    Ok(())
}

/// As libpq understands `target_session_attrs`.
fn refuse_other_session(runtime: &Runtime, client: &Client, wanted: &str) -> Result<()> {
    let query = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only') = 'on'";
    let messages = wait(runtime, client.simple_query(query)).map_err(|error| query_error(&error))?;
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
        // `prefer-standby` takes what there is.
        _ => true,
    };
    if fits {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
        format!("the server is not what target_session_attrs={wanted} asks for"),
    ))
}

fn configuration(info: &ConnInfo) -> Config {
    let mut config = Config::new();
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

fn connection_error(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(_) => query_error(error),
        None => Error::new(PgSqlErrorCode::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, chain(error)),
    }
}

/// What the source, or the way to it, said.
pub(super) fn query_error(error: &tokio_postgres::Error) -> Error {
    let Some(answer) = error.as_db_error() else {
        return Error::new(
            PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
            format!("lost the connection to the source: {}", chain(error)),
        );
    };
    Error {
        sqlstate: packed_sqlstate(answer.code().code()),
        message: format!("the source reports: {}", answer.message()),
        detail: answer.detail().map(str::to_owned),
        hint: answer.hint().map(str::to_owned),
    }
}

/// The error with its causes, without repeating one inside the other.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// As the macro `MAKE_SQLSTATE` packs five characters.
fn packed_sqlstate(code: &str) -> i32 {
    code.bytes()
        .take(5)
        .enumerate()
        .fold(0, |packed, (position, byte)| packed | ((i32::from(byte) - i32::from(b'0')) & 0x3f) << (6 * position))
}
