//! `bascule token`: who may do what.
//!
//! A token's text goes to stdout once and nowhere else, so that it can be put where it belongs without being seen.

use admin::token::TokenText;
use admin_api::access::{NewToken, Role, Scope, Token};
use serde_json::json;

use super::{
    changes::clean,
    exit::{Exit, Outcome},
    noun::Noun,
    output::Paint,
    plane::Session,
    table::Table,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule token create ci --scope web/*:editor --scope web/staging:operator > ci.token
  bascule token create edge-eu --scope '*/*:edge' > edge.token
  bascule token list
  bascule token revoke 0199d6a2f0b1
  BASCULE_BOOTSTRAP_ADMIN_TOKEN=$(bascule token mint) bascule admin

Roles: viewer, editor, operator, admin, each with all of the one before; edge, ofrep,
ofrep-client.";

/// Verbs of `token`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List tokens, without their text.
    List,
    /// Make a token; its text is written to stdout, this once.
    Create {
        /// As people know it
        name: String,
        /// What it may do where; * stands for all
        #[arg(long = "scope", value_name = "APP/ENVIRONMENT:ROLE", value_parser = scope, required = true)]
        scopes: Vec<Scope>,
        /// When it ends, RFC 3339; never by default
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Revoke a token, at once.
    Revoke {
        /// Its id
        id: String,
    },
    /// Write a text for `BASCULE_BOOTSTRAP_ADMIN_TOKEN` to stdout; asks no control plane.
    Mint,
}

pub(super) fn run(args: &Noun<Verb>) -> Outcome {
    if let Verb::Mint = args.verb {
        let minted = TokenText::mint();
        let shown = if args.connection.wants_json() {
            json!({"secret": minted.expose()}).to_string()
        } else {
            minted.expose().to_owned()
        };
        println!("{shown}");
        return Ok(Exit::Ok);
    }
    args.connection.run(async |session| match &args.verb {
        Verb::List | Verb::Mint => list(session).await,
        Verb::Create { name, scopes, expires } => {
            let new = NewToken { name: name.clone(), scopes: scopes.clone(), expires_at: expires.clone() };
            create(session, &new).await
        }
        Verb::Revoke { id } => {
            session.client.revoke_token(id).await?;
            session.say(&json!({"revoked": id}), || format!("revoked {id}\n"))?;
            Ok(Exit::Ok)
        }
    })
}

async fn list(session: &Session) -> Outcome {
    let tokens = session.client.list_tokens().await?;
    session.say(&tokens.json, || {
        let mut table = Table::new(&["ID", "NAME", "SCOPES", "LAST USED", "EXPIRES", "STATE"]);
        for token in &tokens.value.items {
            table.row(cells(token));
        }
        table.text(Paint::stdout())
    })?;
    Ok(Exit::Ok)
}

fn cells(token: &Token) -> [String; 6] {
    let scopes = token.scopes.iter().map(words).collect::<Vec<_>>().join(", ");
    let or_nothing = |text: &Option<String>| text.clone().unwrap_or_default();
    let state = token.revoked_at.as_ref().map_or_else(String::new, |at| format!("revoked {at}"));
    [
        token.id.clone(),
        token.name.clone(),
        scopes,
        or_nothing(&token.last_used_at),
        or_nothing(&token.expires_at),
        state,
    ]
}

async fn create(session: &Session, new: &NewToken) -> Outcome {
    let minted = session.client.create_token(new).await?;
    if !session.json {
        eprintln!(
            "token {} \"{}\"; this is the only time that its text is shown",
            minted.value.token.id,
            clean(&new.name)
        );
        if let Some(key) = &minted.value.public_key {
            eprintln!("snapshots are signed with the key {}", clean(key));
        }
    }
    session.say(&minted.json, || format!("{}\n", clean(&minted.value.secret)))?;
    Ok(Exit::Ok)
}

fn words(scope: &Scope) -> String {
    format!("{}/{}:{}", scope.app, scope.environment, scope.role.as_str())
}

fn scope(text: &str) -> Result<Scope, String> {
    let (place, role) = text.rsplit_once(':').ok_or("write APP/ENVIRONMENT:ROLE")?;
    let (app, environment) = place.split_once('/').ok_or("write APP/ENVIRONMENT:ROLE")?;
    let role = Role::ALL.into_iter().find(|known| known.as_str() == role).ok_or_else(|| {
        let known = Role::ALL.map(Role::as_str).join(", ");
        format!("the role is one of {known}")
    })?;
    Ok(Scope { app: app.to_owned(), environment: environment.to_owned(), role })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_it_is_shown() {
        for text in ["web/production:operator", "*/*:admin", "web/*:ofrep-client"] {
            assert_eq!(scope(text).map(|scope| words(&scope)).as_deref(), Ok(text));
        }
        for wrong in ["web", "web:admin", "web/production", "web/production:root"] {
            assert!(scope(wrong).is_err(), "{wrong}");
        }
    }
}
