use crate::error::{Error, Result};
use conninfo::{ConnInfo, SslMode};
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use pgrx::prelude::*;
use postgres_openssl::MakeTlsConnector;

/// A connector that verifies what the mode asks for, as libpq does.
pub(super) fn connector(info: &ConnInfo) -> Result<MakeTlsConnector> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(tls_error)?;
    // As in libpq: a root certificate that was given is used, whatever the mode.
    let verify = matches!(info.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull) || info.ssl_root_cert.is_some();
    match info.ssl_root_cert.as_deref() {
        None | Some("system") => builder.set_default_verify_paths().map_err(tls_error)?,
        Some(file) => builder.set_ca_file(file).map_err(|error| file_error("sslrootcert", file, &error))?,
    }
    builder.set_verify(if verify { SslVerifyMode::PEER } else { SslVerifyMode::NONE });
    if let Some(file) = &info.ssl_cert {
        builder.set_certificate_chain_file(file).map_err(|error| file_error("sslcert", file, &error))?;
        let key = info.ssl_key.as_ref().unwrap_or(file);
        builder.set_private_key_file(key, SslFiletype::PEM).map_err(|error| file_error("sslkey", key, &error))?;
    }
    let mut connector = MakeTlsConnector::new(builder.build());
    let verify_name = info.ssl_mode == SslMode::VerifyFull || info.ssl_root_cert.as_deref() == Some("system");
    connector.set_callback(move |configuration, _| {
        configuration.set_verify_hostname(verify_name);
        Ok(())
    });
    Ok(connector)
}

pub(super) fn tls_error(error: openssl::error::ErrorStack) -> Error {
    Error::new(PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE, format!("could not set up TLS: {error}"))
}

fn file_error(parameter: &str, file: &str, error: &openssl::error::ErrorStack) -> Error {
    Error::new(
        PgSqlErrorCode::ERRCODE_CONFIG_FILE_ERROR,
        format!("could not read the file of \"{parameter}\", \"{file}\""),
    )
    .detail(error.to_string())
}
