//! Connections of their own to PostgreSQL: one hears what other servers say, one holds the lock of the server that does the work
//! which is done once. Both are made anew when they break.

use super::*;
use sqlx::{
    PgConnection,
    postgres::{PgListener, PgPoolOptions},
};

/// What servers over one database listen to. The trigger on `generation` says it too.
const CHANNEL: &str = "iglu";
/// The advisory lock of the leader: "Iglu" as a number. Locks are the database's own.
const LEADER: i64 = 0x4967_6c75;
/// How long one step on these connections may take.
const PATIENCE: Duration = Duration::from_secs(5);

const NOTIFY: &str = "SELECT pg_notify($1, $2)";
const TRY_LEAD: &str = "SELECT pg_try_advisory_lock($1)";
/// Connections of other programs called like this one.
const COUNT_OTHERS: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'iglu' \
    AND pid <> pg_backend_pid()";
const STILL_THERE: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
/// PostgreSQL forgets a leader whose machine went away after about 25 seconds; the system's default is two hours.
const LOOK_FOR_ME: [&str; 4] = [
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 25000",
];

/// Hears what servers say.
pub(crate) struct Ear(PgListener);

/// Says something to other servers.
pub(crate) struct Voice(PgConnection);

/// May be the leader while it lives.
pub(crate) struct Candidacy(PgConnection);

fn late(_: tokio::time::error::Elapsed) -> Error {
    Error::Unavailable { what: "database", source: "it does not answer in time".into() }
}

impl Db {
    /// Whether other servers may be using the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self, Db::Postgres(_))
    }

    /// Whether no other process is connected to PostgreSQL; for SQLite, which tells nothing, always true. Asked before the pool is used.
    pub async fn is_alone(&self) -> Result<bool> {
        let Db::Postgres(pool) = self else { return Ok(true) };
        let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
        // A connection that was closed a moment ago is counted for a moment.
        for _ in 0..20 {
            let others: i64 = sqlx::query_scalar(COUNT_OTHERS).fetch_one(&mut connection).await?;
            if others == 0 {
                connection.close().await?;
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(false)
    }

    /// Begins to listen. `None` where nobody else can speak.
    pub async fn ear(&self) -> Result<Option<Ear>> {
        let Db::Postgres(pool) = self else { return Ok(None) };
        let listen = async {
            // Not one of those that requests wait for: who cannot hear in time would have to forget everything.
            let own = PgPoolOptions::new().max_connections(1).connect_lazy_with((*pool.connect_options()).clone());
            let mut listener = PgListener::connect_with(&own).await?;
            // A connection that broke is told of, so that what was missed is not taken for nothing.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok::<_, sqlx::Error>(listener)
        };
        Ok(Some(Ear(tokio::time::timeout(PATIENCE, listen).await.map_err(late)??)))
    }

    /// A connection to speak on. `None` where nobody else listens.
    pub async fn voice(&self) -> Result<Option<Voice>> {
        let Db::Postgres(pool) = self else { return Ok(None) };
        let options = pool.connect_options();
        let connect = PgConnection::connect_with(&options);
        Ok(Some(Voice(tokio::time::timeout(PATIENCE, connect).await.map_err(late)??)))
    }

    /// Stands for leader. `None` where there is no other server.
    pub async fn candidacy(&self) -> Result<Option<Candidacy>> {
        let Db::Postgres(pool) = self else { return Ok(None) };
        let stand = async {
            let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
            for setting in LOOK_FOR_ME {
                sqlx::query(setting).execute(&mut connection).await?;
            }
            Ok::<_, sqlx::Error>(connection)
        };
        Ok(Some(Candidacy(tokio::time::timeout(PATIENCE, stand).await.map_err(late)??)))
    }
}

impl Voice {
    /// Says something to all servers, this one included: at most 7999 bytes.
    pub async fn say(&mut self, text: &str) -> Result<()> {
        let said = sqlx::query(NOTIFY).bind(CHANNEL).bind(text).execute(&mut self.0);
        tokio::time::timeout(PATIENCE, said).await.map_err(late)??;
        Ok(())
    }
}

impl Ear {
    /// The next thing that is said. An error where something may have been missed.
    pub async fn hear(&mut self, within: Duration) -> Result<String> {
        let lost = || Error::Unavailable { what: "database", source: "the listening connection broke".into() };
        let heard = tokio::time::timeout(within, self.0.try_recv()).await.map_err(late)??;
        Ok(heard.ok_or_else(lost)?.payload().to_owned())
    }
}

impl Candidacy {
    /// Whether this server is the leader from now on.
    pub async fn try_lead(&mut self) -> Result<bool> {
        let asked = sqlx::query_scalar(TRY_LEAD).bind(LEADER).fetch_one(&mut self.0);
        Ok(tokio::time::timeout(PATIENCE, asked).await.map_err(late)??)
    }

    /// Fails when the connection, and with it the lock, may be lost. What time it is at the database, in milliseconds since 1970.
    pub async fn hold(&mut self) -> Result<i64> {
        let asked = sqlx::query_scalar(STILL_THERE).fetch_one(&mut self.0);
        Ok(tokio::time::timeout(PATIENCE, asked).await.map_err(late)??)
    }

    /// Lets another one lead at once.
    pub async fn end(self) {
        let _ = tokio::time::timeout(PATIENCE, self.0.close()).await;
    }
}
