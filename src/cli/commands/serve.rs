//! `timbre serve`: serve saved models over HTTP.

use std::ffi::OsString;
use std::net::Ipv6Addr;

use anyhow::Result;

use super::ExitStatus;
use crate::cli::args::{GlobalArgs, ServeArgs};
use crate::inference::Predictor;
use crate::serve::{self, ANY_ORIGIN, AccessPolicy, Limits, Service};
use timbre_core::{error::UserError, progress::Printer};

/// The environment variable with the access token. It is not an argument, because all users of a machine can read arguments.
const TOKEN: &str = "TIMBRE_TOKEN";

pub fn serve(common: &GlobalArgs, serving: &ServeArgs, open: impl Fn(&str) -> Result<Predictor>) -> Result<ExitStatus> {
    // A server that was meant to have a token must not start without one.
    let token = std::env::var_os(TOKEN).map(checked_token).transpose()?;
    let mut models = Vec::new();
    for named in &serving.chosen {
        let (run, weight) = weighted(named)?;
        let mut predictor = open(run)?;
        if serving.windows && predictor.window().is_none() {
            let window = predictor.window_or_default();
            predictor = predictor.with_windows(window).map_err(|error| UserError::usage(format!("{error:#}")))?;
        }
        models.push((predictor, weight));
    }
    for origin in &serving.allow_origin {
        check_origin(origin)?;
    }
    if token.is_some() && serving.allow_origin.iter().any(|origin| origin == ANY_ORIGIN) {
        let sentence =
            format!("--allow-origin '*' lets every site use the server, and {TOKEN} is set: list the sites instead");
        return Err(UserError::usage(sentence).into());
    }
    serving.allow_host.iter().try_for_each(|host| check_host(host))?;
    let policy = AccessPolicy::new(token.as_deref(), serving.allow_origin.clone(), serving.allow_host.clone());
    let service = Service::new(models, Limits::default(), policy)?;
    serve::serve(service, &serving.addr, Printer::new(common.quiet))?;
    Ok(ExitStatus::Done)
}

/// Splits `RUN=0.6` into a run and its weight. Any other `=` belongs to the name.
fn weighted(named: &str) -> Result<(&str, Option<f64>)> {
    let Some((run, weight)) = named.rsplit_once('=') else { return Ok((named, None)) };
    match weight.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok((run, Some(weight))),
        Ok(_) => {
            Err(UserError::usage(format!("the weight of {run} is {weight}: expected a number of 0 or more")).into())
        }
        Err(_) => Ok((named, None)),
    }
}

/// The token of the environment, if a client can send it in a header.
fn checked_token(token: OsString) -> Result<String> {
    let is_sendable = |token: &String| {
        !token.is_empty() && token.trim() == token && token.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    };
    token.into_string().ok().filter(is_sendable).ok_or_else(|| {
        let sentence = format!(
            "{TOKEN} is set, but no client can send it: write letters, digits and punctuation of ASCII, or unset it for a \
             server without a token"
        );
        UserError::usage(sentence).into()
    })
}

fn check_host(host: &str) -> Result<()> {
    let is_ipv6 =
        host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|a| a.parse::<Ipv6Addr>().is_ok());
    let is_name = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !is_ipv6 && !is_name {
        let sentence =
            format!("--allow-host {host}: expected a name or an address without a port, e.g. music.example.org");
        return Err(UserError::usage(sentence).into());
    }
    Ok(())
}

fn check_origin(origin: &str) -> Result<()> {
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    if origin == ANY_ORIGIN {
        return Ok(());
    }
    if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '*', ' '])) {
        let sentence = format!(
            "--allow-origin {origin}: expected scheme, host and port of a site, e.g. https://example.org, or '*'"
        );
        return Err(UserError::usage(sentence).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_follows_the_last_equals_sign() {
        assert_eq!(weighted("x/latest:mel.knn.s1=0.6").unwrap(), ("x/latest:mel.knn.s1", Some(0.6)));
        assert_eq!(weighted("x/latest").unwrap(), ("x/latest", None));
        assert_eq!(weighted("a=b/latest").unwrap(), ("a=b/latest", None));
        assert!(weighted("x=-1").unwrap_err().to_string().contains("0 or more"));
        assert!(weighted("x=nan").is_err());
    }

    #[test]
    fn a_token_can_be_sent_in_a_header() {
        for right in ["s3cret", "a b", "dG9rZW4=", "~!@#"] {
            assert_eq!(checked_token(right.into()).unwrap(), right);
        }
        use std::os::unix::ffi::OsStringExt;
        for wrong in [&b""[..], b" ", b" x", b"x ", b"x\n", b"a\tb", "é".as_bytes(), b"sec\xff"] {
            assert!(checked_token(OsString::from_vec(wrong.to_vec())).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_host_has_no_port() {
        for right in ["music.example.org", "10.0.0.7", "[::1]", "my_host-2"] {
            assert!(check_host(right).is_ok(), "{right}");
        }
        for wrong in ["", "*", "a:80", "http://a", "a/", "[a]", "::1"] {
            assert!(check_host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_origin_has_no_path() {
        for right in ["https://example.org:8443", "http://localhost:3000", ANY_ORIGIN] {
            assert!(check_origin(right).is_ok(), "{right}");
        }
        for wrong in ["**", "example.org", "https://", "https://example.org/", "https://*.example.org"] {
            assert!(check_origin(wrong).is_err(), "{wrong}");
        }
    }
}
