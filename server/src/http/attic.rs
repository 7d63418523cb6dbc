//! The attic API, and that of its fork celler: cache configuration, which paths are missing, and uploads in one request. Refusals are
//! JSON with a code, a word and a sentence that the client prints.

use super::{
    body, bulk,
    caller::by_good_token as caller,
    error::{one_line, say_when, status},
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use iglu_api::{
    CacheName,
    attic::{
        CacheConfig, CreateCache, ErrorBody, GetMissingPaths, Keypair, MissingPaths, RetentionPeriod, Upload,
        UploadKind, UploadPathInfo, UploadResult,
    },
    cache::{CacheChange, CacheCreate, Permission, Visibility},
    key::KeyState,
    retention::Retention,
};
use iglu_core::{Caller, Core, Discretion, Error, push::Claim};
use nix_compat::{STORE_DIR, compression::Compression, signing::SigningKey};

const LONGEST_CONFIG: usize = 256 << 10;
const SECONDS_OF_DAY: u32 = 86_400;
/// Tens of thousands of references.
const LONGEST_INFO: usize = 16 << 20;

pub fn router(core: Core) -> Router {
    let config = get(config_get).post(config_create).patch(config_change).delete(config_delete);
    Router::new()
        .route("/_api/v1/cache-config/{cache}", config)
        .route("/_api/v1/get-missing-paths", post(missing))
        .route("/_api/v1/upload-path", put(upload))
        .route("/_api/", any(unknown))
        .route("/_api/{*unknown}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .with_state(core)
}

async fn unknown() -> AtticError {
    AtticError(Error::NotFound("this server has no such API".to_owned()))
}

async fn wrong_method() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "this address takes other methods only")
}

/// Whether a path is one of this door's, whatever is behind it.
pub fn is_asked(path: &str) -> bool {
    path.trim_start_matches('/').starts_with("_api/")
}

/// A refusal that is none of core's.
pub fn refusal(status: StatusCode, message: &str) -> Response {
    let error = if status == StatusCode::NOT_FOUND { "NotFound" } else { "RequestError" };
    let body = ErrorBody { code: status.as_u16(), error: error.to_owned(), message: message.to_owned() };
    (status, Json(body)).into_response()
}

/// An error as attic clients read it.
pub struct AtticError(pub Error);

impl From<Error> for AtticError {
    fn from(error: Error) -> AtticError {
        AtticError(error)
    }
}

impl IntoResponse for AtticError {
    fn into_response(self) -> Response {
        let AtticError(error) = self;
        let (status, word) = match &error {
            Error::Unauthenticated(_) => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Error::Forbidden(_) => (StatusCode::FORBIDDEN, "AccessError"),
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "NoSuchCache"),
            Error::Conflict { field: "name", .. } => (StatusCode::BAD_REQUEST, "CacheAlreadyExists"),
            // The client tries nothing again, so that a broken body is told as what it is.
            Error::Invalid { .. } | Error::Conflict { .. } | Error::Interrupted(_) => {
                (StatusCode::BAD_REQUEST, "RequestError")
            }
            Error::TooLarge(_) | Error::TooMany { .. } => (status(&error), "RequestError"),
            Error::Unavailable { .. } | Error::Internal { .. } => {
                tracing::error!(error = %error, cause = ?std::error::Error::source(&error), "a request failed");
                (status(&error), "InternalServerError")
            }
        };
        let body = ErrorBody { code: status.as_u16(), error: word.to_owned(), message: one_line(&error.to_string()) };
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        say_when(&mut response, &error);
        response
    }
}

async fn config_get(
    State(core): State<Core>,
    Path(cache): Path<String>,
    headers: HeaderMap,
) -> Result<Response, AtticError> {
    let caller = caller(&core, &headers).await?;
    Ok(config(&core, &caller, &cache).await?)
}

/// A cache's configuration, for whoever may pull from it.
pub async fn config(core: &Core, caller: &Caller, name: &str) -> Result<Response, Error> {
    let cache = core.cache().open(caller, name, Permission::Pull, Discretion::Hide).await?;
    // One key is told: the newest that has signed everything.
    let keys = core.key().list(caller, name).await?;
    let vouches = |state: &KeyState| matches!(state, KeyState::Active | KeyState::Client { .. });
    let key = keys.iter().rev().find(|key| vouches(&key.state)).or(keys.first());
    Ok(Json(CacheConfig {
        substituter_endpoint: Some(core.address().cache_uri(&cache.name)),
        api_endpoint: Some(format!("{}/", core.public_url())),
        public_key: key.map(|key| key.public_key.clone()),
        keypair: None,
        is_public: Some(cache.is_public()),
        store_dir: Some(STORE_DIR.to_owned()),
        priority: Some(cache.priority),
        upstream_cache_key_names: Some(cache.client_filter_keys.clone()),
        retention_period: Some(period(&cache.retention)),
    })
    .into_response())
}

async fn config_create(
    State(core): State<Core>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<StatusCode, AtticError> {
    let (head, body) = request.into_parts();
    let caller = caller(&core, &head.headers).await?;
    caller.require_instance_admin("creating a cache")?;
    let create: CreateCache = read_json(body, LONGEST_CONFIG).await?;
    let name = CacheName::parse(&name).map_err(|error| Error::invalid("name", error.to_string()))?;
    check_store_dir(&create.store_dir)?;
    let visibility = visibility(create.is_public);
    let new = CacheCreate {
        priority: create.priority,
        client_filter_keys: create.upstream_cache_key_names,
        ..CacheCreate::new(name, visibility)
    };
    match create.keypair {
        Keypair::Generate => core.cache().create(&caller, &new).await?,
        Keypair::Keypair(secret) => {
            let key = SigningKey::parse(&secret)
                .map_err(|error| Error::invalid("keypair", format!("keypair is no name:base64: {error}")))?;
            core.cache().create_with_key(&caller, &new, &key).await?;
        }
    }
    Ok(StatusCode::OK)
}

async fn config_change(
    State(core): State<Core>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<StatusCode, AtticError> {
    let (head, body) = request.into_parts();
    let caller = caller(&core, &head.headers).await?;
    let cache = core.cache().open(&caller, &name, Permission::Admin, Discretion::Hide).await?;
    let asked: CacheConfig = read_json(body, LONGEST_CONFIG).await?;
    let change = CacheChange {
        visibility: asked.is_public.map(visibility),
        priority: asked.priority,
        client_filter_keys: asked.upstream_cache_key_names,
        ..CacheChange::default()
    };
    if let Some(store_dir) = &asked.store_dir {
        check_store_dir(store_dir)?;
    }
    let changes = change != CacheChange::default();
    // All or nothing: a key that cannot be taken must not leave the rest changed.
    core.cache().check(&change)?;
    let names_more = changes || asked.keypair.is_some() || asked.store_dir.is_some();
    let retention = match asked.retention_period {
        // Clients send it beside every other change; only alone is it meant.
        Some(RetentionPeriod::Global) if names_more => None,
        Some(RetentionPeriod::Global | RetentionPeriod::Period(0)) => Some(None),
        // Rules count whole days; rather longer than shorter.
        Some(RetentionPeriod::Period(seconds)) => Some(Some(seconds.div_ceil(SECONDS_OF_DAY))),
        None if !names_more => return Err(Error::invalid("", "nothing is named that could be changed").into()),
        None => None,
    };
    let rules = retention.map(|used_days| Retention { used_days, ..cache.retention });
    if let Some(rules) = &rules {
        core.retention().check(&caller, &name, rules, false).await?;
    }
    match asked.keypair {
        Some(Keypair::Generate) => core.key().add(&caller, &name).await?,
        Some(Keypair::Keypair(secret)) => core.key().import(&caller, &name, &secret).await?,
        None => {}
    }
    if let Some(rules) = &rules {
        core.retention().set(&caller, &name, rules, true).await?;
    }
    if changes {
        core.cache().change(&caller, &name, &change).await?;
    }
    Ok(StatusCode::OK)
}

async fn config_delete(
    State(core): State<Core>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, AtticError> {
    let caller = caller(&core, &headers).await?;
    core.cache().remove(&caller, &name).await?;
    Ok(StatusCode::OK)
}

/// The rule by last use as the protocol says it, in seconds.
fn period(rules: &Retention) -> RetentionPeriod {
    match rules.used_days {
        Some(days) => RetentionPeriod::Period(days.saturating_mul(SECONDS_OF_DAY)),
        None => RetentionPeriod::Global,
    }
}

fn visibility(is_public: bool) -> Visibility {
    if is_public { Visibility::Public } else { Visibility::Private }
}

fn check_store_dir(store_dir: &str) -> Result<(), Error> {
    match store_dir {
        STORE_DIR => Ok(()),
        _ => Err(Error::invalid("store_dir", format!("store_dir is {STORE_DIR} for every cache of this server"))),
    }
}

async fn missing(State(core): State<Core>, request: Request<Body>) -> Result<Json<MissingPaths>, AtticError> {
    let (head, body) = request.into_parts();
    let caller = match caller(&core, &head.headers).await {
        Ok(Caller::Anonymous { .. }) => {
            Err(Error::Unauthenticated("no token was sent; asking what to push needs one with push".to_owned()))
        }
        known => known,
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => {
            // A client that is still sending would report a broken connection instead of the answer.
            body::drain(body::stream(body));
            return Err(error.into());
        }
    };
    let form = "a cache and a list of store path hashes";
    let bulk: bulk::Bulk<GetMissingPaths> = bulk::read(body, false, form).await?;
    let asked = bulk.asked;
    let cache = core.cache().open(&caller, &asked.cache, Permission::Push, Discretion::Hide).await?;
    let missing_paths = core.path().missing(&cache, asked.store_path_hashes).await?;
    drop(bulk.turn);
    Ok(Json(MissingPaths { missing_paths }))
}

async fn upload(State(core): State<Core>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let coding = head.headers.get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap_or("?"));
    let known = coding.map(body::Coding::parse);
    let body = body::Shared::new(body);
    let mut chunks = body::unpacked(body.clone(), known.flatten());
    let taken = match known {
        Some(None) => Err(Error::invalid("", "Content-Encoding is none, zstd or gzip here")),
        _ => take(&core, &head.headers, &mut chunks).await,
    };
    match taken {
        Ok(result) => Json(result).into_response(),
        Err(error) => {
            // A client that is still sending would report a broken connection instead of the answer.
            body::drain(body);
            AtticError(error).into_response()
        }
    }
}

async fn take(core: &Core, headers: &HeaderMap, chunks: &mut body::Bodily) -> Result<UploadResult, Error> {
    let caller = caller(core, headers).await?;
    if matches!(caller, Caller::Anonymous { .. }) {
        return Err(Error::Unauthenticated("no token was sent; uploading needs one with push".to_owned()));
    }
    let info = match preamble_size(headers)? {
        Some(size) => body::take_first(chunks, size).await?,
        None => {
            let header = ["x-attic-nar-info", "x-celler-nar-info"].iter().find_map(|name| headers.get(*name));
            let header =
                header.ok_or_else(|| Error::invalid("", "X-Attic-Nar-Info tells what is uploaded; it is missing"))?;
            header.as_bytes().to_vec().into()
        }
    };
    let info: UploadPathInfo = serde_json::from_slice(&info)
        .map_err(|error| Error::invalid("", format!("the NAR info is not the JSON expected: {error}")))?;
    let upload = Upload::try_from(info).map_err(|error| Error::invalid(error.field, error.to_string()))?;
    let cache = core.cache().open(&caller, &upload.cache, Permission::Push, Discretion::Hide).await?;
    let claim = Claim {
        store_path: upload.store_path,
        nar_hash: upload.nar_hash,
        nar_size: upload.nar_size,
        file_hash: None,
        file_size: None,
        compression: Compression::None,
        references: upload.references,
        deriver: upload.deriver,
        ca: upload.ca,
        signatures: upload.signatures,
        nameless_signature: None,
    };
    let streamed = core.push().nar_stream(&caller, &cache, claim, chunks).await?;
    Ok(UploadResult {
        kind: if streamed.is_deduplicated { UploadKind::Deduplicated } else { UploadKind::Uploaded },
        file_size: streamed.file_size,
        frac_deduplicated: streamed.is_deduplicated.then_some(1.0),
    })
}

/// How many bytes of JSON stand before the NAR, if any.
fn preamble_size(headers: &HeaderMap) -> Result<Option<usize>, Error> {
    let names = ["x-attic-nar-info-preamble-size", "x-celler-nar-info-preamble-size"];
    let Some(size) = names.iter().find_map(|name| headers.get(*name)) else { return Ok(None) };
    let wrong = || Error::invalid("", "the size of the preamble is a number of bytes");
    let size: usize = size.to_str().ok().and_then(|size| size.parse().ok()).ok_or_else(wrong)?;
    if size > LONGEST_INFO {
        return Err(Error::TooLarge(format!(
            "a preamble of {size} bytes is more than the {LONGEST_INFO} allowed here"
        )));
    }
    Ok(Some(size))
}

async fn read_json<T: serde::de::DeserializeOwned>(body: Body, limit: usize) -> Result<T, Error> {
    let body = body::document(body, limit).await?;
    // Where it is wrong, and not what stands there: that may be a secret key.
    serde_json::from_slice(&body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Error::invalid("", format!("the body is not the JSON expected, at line {line} column {column}"))
    })
}
