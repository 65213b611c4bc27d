use super::tls;
use crate::error::{Error, Result};
use crate::local::interrupts;
use conninfo::{ConnInfo, Host, SslMode};
use pgrx::prelude::*;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::config::{ChannelBinding, TargetSessionAttrs};
use tokio_postgres::{Client, Config, NoTls};

/// How long a network wait may go without looking at the server's interrupt flags.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

/// Whether the caller may use what belongs to the server's operating-system user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Superuser,
    /// Must give a password that the source really asks for, and may name no files: the rules of dblink.
    PasswordRequired,
}

/// A connection, driven by a runtime of its own on the calling thread.
pub(super) struct Connection {
    pub(super) client: Client,
    runtime: Runtime,
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
                Ok(client) => return Ok(Self { client, runtime }),
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

fn open_host(runtime: &Runtime, info: &ConnInfo, host: &Host, trust: Trust) -> Result<Client> {
    let mut config = configuration(info, host);
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
    connect(runtime, info, host, &config)
}

fn connect(runtime: &Runtime, info: &ConnInfo, host: &Host, config: &Config) -> Result<Client> {
    let attempts: &[tokio_postgres::config::SslMode] = {
        use tokio_postgres::config::SslMode as Wire;
        match info.ssl_mode {
            // As in libpq, encryption is not for Unix sockets.
            _ if host.is_socket_directory() => &[Wire::Disable],
            SslMode::Disable => &[Wire::Disable],
            SslMode::Allow => &[Wire::Disable, Wire::Require],
            SslMode::Prefer => &[Wire::Prefer, Wire::Disable],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Wire::Require],
        }
    };
    let mut first = None;
    for &mode in attempts {
        let mut config = config.clone();
        config.ssl_mode(mode);
        let connected = if mode == tokio_postgres::config::SslMode::Disable {
            wait(runtime, config.connect(NoTls)).map(|(client, connection)| {
                runtime.spawn(connection);
                client
            })
        } else {
            wait(runtime, config.connect(tls::connector(info)?)).map(|(client, connection)| {
                runtime.spawn(connection);
                client
            })
        };
        match connected {
            Ok(client) => return Ok(client),
            // What a server answered will not change with encryption, except for its access rules.
            Err(error) => {
                let access_rule = error.code().is_some_and(|code| code.code() == "28000");
                let answered = error.as_db_error().is_some() && !access_rule;
                first.get_or_insert_with(|| connection_error(&error));
                if answered {
                    break;
                }
            }
        }
    }
    Err(first.expect("there is at least one attempt"))
}

fn configuration(info: &ConnInfo, host: &Host) -> Config {
    let mut config = Config::new();
    config.host(&host.name).port(host.port);
    config.user(info.user.as_deref().unwrap_or("postgres"));
    if let Some(database) = info.database.as_ref().or(info.user.as_ref()) {
        config.dbname(database);
    }
    config.application_name(info.application_name.as_deref().unwrap_or("pgcopy"));
    if let Some(options) = &info.options {
        config.options(options);
    }
    if let Some(seconds) = info.connect_timeout {
        config.connect_timeout(Duration::from_secs(seconds.into()));
    }
    config.keepalives(info.keepalives);
    config.keepalives_idle(Duration::from_secs(info.keepalives_idle.unwrap_or(60).into()));
    config.keepalives_interval(Duration::from_secs(info.keepalives_interval.unwrap_or(10).into()));
    config.keepalives_retries(info.keepalives_count.unwrap_or(6));
    config.channel_binding(match info.channel_binding.as_deref() {
        Some("disable") => ChannelBinding::Disable,
        Some("require") => ChannelBinding::Require,
        _ => ChannelBinding::Prefer,
    });
    config.target_session_attrs(match info.target_session_attrs.as_deref() {
        Some("read-write" | "primary") => TargetSessionAttrs::ReadWrite,
        Some("read-only" | "standby") => TargetSessionAttrs::ReadOnly,
        _ => TargetSessionAttrs::Any,
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
