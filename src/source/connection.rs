//! Connecting to a source: hosts, encryption and patience as libpq has them.

use super::answers::answers;
use super::failure::{self, Failure, is_network_trouble};
use super::origin::{Origin, Trust};
use super::socket::{LONGEST_TIMEOUT, open_socket};
use super::tap::{Framing, Tap, TapSlot, TappedSocket, TappingTls};
use super::tls;
use crate::error::{Error, Result};
use crate::local::network::Network;
use crate::local::parameters;
use conninfo::{ConnInfo, Host, SslMode};
use pgrx::prelude::*;
use std::cell::RefCell;
use std::future::Future;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, SslMode as WireSslMode};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls};

/// The longest time for the end of a connection.
const LONGEST_GOODBYE: Duration = Duration::from_millis(100);

/// The pause before a failed connection is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A client, the tap of its socket, and the task that drives it.
type Connected = (Client, Tap, JoinHandle<()>);

/// A connection, driven by a runtime of its own on the calling thread.
pub(super) struct Connection {
    /// `None` once the connection ends.
    client: Option<Client>,
    /// COPY data arrives here and not at the client.
    pub(super) tap: Tap,
    /// The client library's own work.
    driver: JoinHandle<()>,
    network: Network,
}

impl Drop for Connection {
    /// Ends the connection in order, so that the source's log does not tell of a lost client.
    fn drop(&mut self) {
        // After an ERROR there is no time for it.
        if !std::thread::panicking() {
            drop(self.client.take());
            let driver = &mut self.driver;
            let _ = self.network.wait_at_most(LONGEST_GOODBYE, driver);
        }
    }
}

impl Connection {
    /// Connects to the first host that answers, in their order. Where the reason of a failure may pass, all of them are
    /// tried again for a while, for no longer than a source may be silent.
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

    /// Waits for no longer than that, and does not look at interrupts.
    pub(super) fn wait_at_most<T>(&self, longest: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.network.wait_at_most(longest, future)
    }
}

/// Returns the error of a source from which nothing has come for so long.
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
                    // As in libpq, a server's refusal ends the attempts.
                    if is_final {
                        break;
                    }
                }
            }
        }
    }
    let passing = failures.iter().any(|(_, failure)| failure.passing);
    // A server's answer is worth more than the silence of others.
    let told = failures.iter().position(|(_, failure)| failure.answered).unwrap_or(0);
    let (host, Failure { mut error, answered, .. }) = failures.remove(told);
    error.message = format!("could not connect to the source at {}: {}", describe(host), error.message);
    if !answered && error.hint.is_none() && (passing || host.is_socket_directory()) {
        error = error.hint(if host.is_socket_directory() {
            "Is the server running locally and accepting connections on that socket?"
        } else {
            "Is the server running on that host and accepting TCP/IP connections?"
        });
    }
    if error.sqlstate == PgSqlErrorCode::ERRCODE_INVALID_PASSWORD as i32
        && error.hint.is_none()
        && let Some(statement) = origin.to_set_password("SET")
    {
        error = error.hint(statement);
    }
    if origin.mask_key.is_some() && error.hint.is_none() && error.message.contains("startup parameter") {
        error = error.hint("The key of masks is a setting in the options of the connection. Connect to the server itself, without the pooler that refuses them.");
    }
    // The words of OpenSSL.
    if error.hint.is_none()
        && ["hostname mismatch", "IP address mismatch"].iter().any(|words| error.message.contains(words))
    {
        error = error.hint(format!(
            "The certificate is not made for host \"{}\". Name the host that it is made for; hostaddr can tell where that is.",
            host.name
        ));
    }
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
    let (client, tap, driver) = connect(runtime, origin, host).await?;
    // A source that lets us in without a password has trusted the server's own identity, not the caller.
    if origin.trust == Trust::PasswordRequired && !tap.password_was_asked() {
        let error =
            Error::new(PgSqlErrorCode::ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED, "password is required")
                .detail("Non-superusers cannot connect if the source does not request a password.")
                .hint(
                    "Have pg_hba.conf of the source ask this user for a password: scram-sha-256 in the place of what lets everybody in.",
                );
        return Err(Failure { error, answered: true, passing: false });
    }
    if wanted != "any" {
        let limit = connect_timeout(&origin.info).unwrap_or(LONGEST_TIMEOUT);
        let asked = tokio::time::timeout(limit, refuse_other_session(&client, &tap, wanted)).await;
        asked.unwrap_or_else(|_| Err(Failure::timed_out(false)))?;
    }
    Ok((client, tap, driver))
}

/// How many seconds an attempt to connect may take when the connection string does not say.
const DEFAULT_CONNECT_TIMEOUT: u32 = 30;

/// Returns the longest time for an attempt to connect; `None` for as long as the operating system takes.
fn connect_timeout(info: &ConnInfo) -> Option<Duration> {
    let seconds = info.connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Connects to a host. The time limit holds for all attempts at one host together, as in libpq.
async fn connect(runtime: &Runtime, origin: &Origin, host: &Host) -> std::result::Result<Connected, Failure> {
    // The tap of the attempt that is being made.
    let current = RefCell::new(None::<Tap>);
    let attempts = try_modes(runtime, origin, host, &current);
    let Some(limit) = connect_timeout(&origin.info) else { return attempts.await };
    tokio::time::timeout(limit, attempts).await.unwrap_or_else(|_| {
        let is_silent = current.borrow().as_ref().is_some_and(|tap| !tap.has_answered());
        Err(Failure::timed_out(is_silent))
    })
}

/// Connects with or without encryption, in the order that `sslmode` wants.
async fn try_modes(
    runtime: &Runtime,
    origin: &Origin,
    host: &Host,
    current: &RefCell<Option<Tap>>,
) -> std::result::Result<Connected, Failure> {
    let info = &origin.info;
    let config = configuration(info, origin.mask_key.as_deref());
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
        match attempt(runtime, info, host, &config, mode, current).await {
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

async fn attempt(
    runtime: &Runtime,
    info: &ConnInfo,
    host: &Host,
    config: &Config,
    mode: WireSslMode,
    current: &RefCell<Option<Tap>>,
) -> std::result::Result<Connected, Failure> {
    let framing = if mode == WireSslMode::Disable { Framing::Messages } else { Framing::TlsAnswerFirst };
    let tap = open_socket(info, host, framing)
        .await
        .map_err(|error| Failure::unanswered(error.to_string(), is_network_trouble(&error)))?;
    current.replace(Some(tap.clone()));
    let has_password = info.password.is_some();
    if mode == WireSslMode::Disable {
        return match config.connect_raw(tap.socket(), NoTls).await {
            Ok((client, connection)) => Ok((client, tap, runtime.spawn(drive(connection)))),
            Err(error) => Err(failure_of(&error, &tap, has_password).await),
        };
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
    let ends = tap.ends;
    let mut inner = slot.lock().ok().and_then(|mut slot| slot.take()).unwrap_or(tap);
    inner.ends = ends;
    match connected {
        Ok((client, connection)) => Ok((client, inner, runtime.spawn(drive(connection)))),
        Err(error) => Err(failure_of(&error, &inner, has_password).await),
    }
}

/// Returns the failure of an attempt. Where the connection broke, the server's first words may still lie in the socket.
async fn failure_of(error: &tokio_postgres::Error, tap: &Tap, has_password: bool) -> Failure {
    if failure::has_broken(error) && tap.refusal().is_none() {
        tap.last_words().await;
    }
    Failure::from_library(error, tap, has_password)
}

/// Drives a connection. An error that ends it early reaches its user through the client.
async fn drive(connection: impl Future<Output = std::result::Result<(), tokio_postgres::Error>>) {
    let _ = connection.await;
}

/// Refuses a server that is not what `target_session_attrs` asks for, as libpq understands it.
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

fn configuration(info: &ConnInfo, mask_key: Option<&str>) -> Config {
    let mut config = Config::new();
    if let Some(password) = &info.password {
        config.password(password);
    }
    config.user(info.user.as_deref().unwrap_or("postgres"));
    if let Some(database) = info.database.as_ref().or(info.user.as_ref()) {
        config.dbname(database);
    }
    config.application_name(info.application_name.as_deref().unwrap_or("pgcopy"));
    // The key of masks is a setting that the session begins with: no statement holds it, neither as a text nor as a parameter, and
    // so none of the source's logs of statements. It comes first, so that no option before it can take it for its value.
    let key = mask_key.map(|key| format!("-c {}={key}", selection::KEY_SETTING));
    let options: Vec<&str> = key.as_deref().into_iter().chain(info.options.as_deref()).collect();
    if !options.is_empty() {
        config.options(options.join(" "));
    }
    config.channel_binding(match info.channel_binding.as_deref() {
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        _ => ChannelBinding::Prefer,
    });
    config
}
