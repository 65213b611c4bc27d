use super::origin::{Origin, Trust};
use super::tap::{Framing, Tap, TapSlot, TappedSocket, TappingTls};
use super::tls;
use crate::error::{Error, Result, with_causes};
use crate::local::network::Network;
use crate::local::parameters;
use conninfo::{ConnInfo, Host, SslMode};
use futures_util::StreamExt;
use pgrx::prelude::*;
use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, SslMode as WireSslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

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
    /// Tries the hosts in their order, and all of them again for a while where the reason may pass. All of it takes no
    /// longer than a source may be silent.
    pub(super) fn open(origin: &Origin) -> Result<Self> {
        let limit = parameters::source_timeout();
        let network = Network::start()?;
        let opened = network.wait(async {
            match limit {
                Some(limit) => tokio::time::timeout(limit, open_patiently(network.runtime(), origin)).await,
                None => Ok(open_patiently(network.runtime(), origin).await),
            }
        });
        let (client, tap, driver) = opened.unwrap_or_else(|_| Err(silent(limit.unwrap_or_default())))?;
        Ok(Self { client: Some(client), tap, driver, network })
    }

    pub(super) fn client(&self) -> &Client {
        self.client.as_ref().expect("only dropping takes it")
    }

    /// Waits for the source without blocking the server's interrupts: a cancel or a termination raises its ERROR here.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.network.wait(future)
    }
}

/// The error of a source from which nothing has come for so long.
pub(super) fn silent(limit: Duration) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
        format!("the source has been silent for {} s", limit.as_secs_f64()),
    )
    .hint("pgcopy.source_timeout is how long a pull waits.")
}

async fn open_patiently(runtime: &Runtime, origin: &Origin) -> Result<Connected> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        match open_any_host(runtime, origin).await {
            Ok(connected) => return Ok(connected),
            Err(failure) if !failure.passing || started.elapsed() + pause > origin.patience => {
                return Err(failure.error);
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn describe(host: &Host) -> String {
    if host.is_socket_directory() {
        format!("socket \"{}/.s.PGSQL.{}\"", host.name, host.port)
    } else {
        format!("\"{}\", port {}", host.name, host.port)
    }
}

async fn open_any_host(runtime: &Runtime, origin: &Origin) -> std::result::Result<Connected, Failure> {
    let wanted = origin.info.target_session_attrs.as_deref().unwrap_or("any");
    let rounds = if wanted == "prefer-standby" { vec!["standby", "any"] } else { vec![wanted] };
    let mut failures: Vec<(&Host, Failure)> = Vec::new();
    for wanted in rounds {
        failures.clear();
        for host in &origin.info.hosts {
            match open_host(runtime, origin, host, wanted).await {
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

async fn open_host(
    runtime: &Runtime,
    origin: &Origin,
    host: &Host,
    wanted: &str,
) -> std::result::Result<Connected, Failure> {
    let (client, tap, driver) = connect(runtime, &origin.info, host).await?;
    // A source that lets us in without it has trusted the server's own identity, not the caller.
    if origin.trust == Trust::PasswordRequired && !tap.password_was_asked() {
        let error =
            Error::new(PgSqlErrorCode::ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED, "password is required")
                .detail("Non-superusers cannot connect if the source does not request a password.")
                .hint("The source's authentication method must be changed.");
        return Err(Failure { error, answered: true, passing: false });
    }
    if wanted != "any" {
        let limit = connect_timeout(&origin.info).unwrap_or(LONGEST_TIMEOUT);
        let asked = tokio::time::timeout(limit, refuse_other_session(&client, &tap, wanted)).await;
        asked.unwrap_or_else(|_| Err(Failure::timed_out()))?;
    }
    Ok((client, tap, driver))
}

/// How long an attempt to connect may take when the connection string does not tell.
const DEFAULT_CONNECT_TIMEOUT: u32 = 30;

/// `None` for as long as the operating system takes.
fn connect_timeout(info: &ConnInfo) -> Option<Duration> {
    let seconds = info.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Holds for all that a host is asked, as in libpq.
async fn connect(runtime: &Runtime, info: &ConnInfo, host: &Host) -> std::result::Result<Connected, Failure> {
    let attempts = try_modes(runtime, info, host);
    match connect_timeout(info) {
        Some(limit) => tokio::time::timeout(limit, attempts).await.unwrap_or_else(|_| Err(Failure::timed_out())),
        None => attempts.await,
    }
}

/// With and without encryption, in the order that `sslmode` wants.
async fn try_modes(runtime: &Runtime, info: &ConnInfo, host: &Host) -> std::result::Result<Connected, Failure> {
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
        match attempt(runtime, info, host, &config, mode).await {
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

    fn timed_out() -> Self {
        Self::unanswered("timeout expired".to_owned(), true)
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
        if let Some(refusal) = tap.refusal() {
            return Self::own(refusal.into());
        }
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
async fn refuse_other_session(client: &Client, tap: &Tap, wanted: &str) -> std::result::Result<(), Failure> {
    let query = "SELECT pg_catalog.concat(pg_catalog.pg_is_in_recovery(), ' ', pg_catalog.current_setting('transaction_read_only'))";
    let answers = answers(client, tap, query, 1).await;
    let answers = answers.map_err(|error| Failure {
        passing: error.passing.unwrap_or(true),
        error: error.error,
        answered: false,
    })?;
    let (standby, read_only) = match answers.values.first().map(|answer| answer.split_once(' ')) {
        Some(Some((standby, read_only))) => (standby == "t", read_only == "on"),
        _ => return Err(Failure::unanswered("the server does not tell what it is".to_owned(), false)),
    };
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

/// What the source has answered to a few commands, beside the data of COPY.
#[derive(Default)]
pub(super) struct Answers {
    /// The first column of each row.
    pub(super) values: Vec<String>,
    /// What each command has worked on.
    pub(super) rows: Vec<u64>,
}

pub(super) struct AnswerError {
    pub(super) error: Error,
    /// Whether it may be otherwise in a moment, where the source itself has answered.
    passing: Option<bool>,
}

/// Bytes that the values of an answer may have together.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// Runs commands of which each returns a short value, or nothing. Whoever sends more is not listened to.
pub(super) async fn answers(
    client: &Client,
    tap: &Tap,
    commands: &str,
    count: usize,
) -> std::result::Result<Answers, AnswerError> {
    let failed = |error: tokio_postgres::Error| AnswerError {
        passing: error.code().map(|code| PASSING.contains(&code.code())),
        error: tap.refusal().map_or_else(|| query_error(&error), Error::from),
    };
    let mut stream = std::pin::pin!(client.simple_query_raw(commands).await.map_err(failed)?);
    let mut answers = Answers::default();
    let mut bytes = 0;
    while let Some(message) = stream.next().await {
        match message.map_err(failed)? {
            SimpleQueryMessage::Row(row) => {
                let value = if row.is_empty() { None } else { row.try_get(0).map_err(failed)? };
                bytes += value.map_or(0, str::len);
                answers.values.extend(value.map(str::to_owned));
            }
            SimpleQueryMessage::CommandComplete(rows) => answers.rows.push(rows),
            _ => {}
        }
        if bytes > LONGEST_ANSWER || answers.values.len() > count || answers.rows.len() > count {
            let error = Error::new(
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                "the source's answer is longer than any that was asked for",
            );
            return Err(AnswerError { error, passing: Some(false) });
        }
    }
    Ok(answers)
}

/// What the source, or the way to it, said.
fn query_error(error: &tokio_postgres::Error) -> Error {
    let Some(answer) = error.as_db_error() else {
        return Error::new(
            PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
            format!("lost the connection to the source: {}", with_causes(error)),
        );
    };
    let mut error = Error::internal(format!("the source reports: {}", answer.message()));
    error.sqlstate = packed_sqlstate(answer.code().code());
    if let Some(detail) = answer.detail() {
        error = error.detail(detail);
    }
    if let Some(hint) = answer.hint() {
        error = error.hint(hint);
    }
    error
}

/// As the macro `MAKE_SQLSTATE` packs five characters.
fn packed_sqlstate(code: &str) -> i32 {
    code.bytes()
        .take(5)
        .enumerate()
        .fold(0, |packed, (position, byte)| packed | ((i32::from(byte) - i32::from(b'0')) & 0x3f) << (6 * position))
}
