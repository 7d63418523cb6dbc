//! The HTML document around the pages: head, scripts, and the content security policy that goes with them.

use crate::App;
use leptos::{nonce::use_nonce, prelude::*};
use leptos_meta::MetaTags;

/// Where the site's versioned files are: empty, or a path such as `/assets/4f1c` without a trailing slash. The server
/// provides it as context; without it the files are looked for at `/pkg`.
#[derive(Clone, Debug, Default)]
pub struct AssetRoot(pub String);

/// Puts the chosen theme on the document before anything is painted.
pub const THEME_SCRIPT: &str = "try{let t=localStorage.getItem('iglu-theme');\
    if(t==='light'||t==='dark')document.documentElement.dataset.theme=t}catch{}";

/// The whole document. `{root}/{pkg}/{name}.css`, `.js` and `.wasm` are what cargo-leptos leaves in the site folder.
pub fn shell(options: LeptosOptions) -> impl IntoView {
    let nonce = use_nonce();
    #[cfg(feature = "ssr")]
    policy::send(nonce.as_ref());
    let AssetRoot(root) = use_context().unwrap_or_default();
    let file = |end: &str| format!("{root}/{}/{}{end}", options.site_pkg_dir, options.output_name);
    let (style, script, wasm) = (file(".css"), file(".js"), file(".wasm"));
    // Leptos' own HydrationScripts leaves the preload link without a nonce, which 'strict-dynamic' then blocks.
    let start =
        format!("import start,{{hydrate}} from {script:?};start({{module_or_path:{wasm:?}}}).then(()=>hydrate());");
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <script nonce=nonce.clone()>{THEME_SCRIPT}</script>
                <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
                <link rel="preload" href="/fonts/inter-latin.woff2" r#as="font" r#type="font/woff2" crossorigin="anonymous" />
                <link rel="stylesheet" href=style />
                <link rel="modulepreload" href=script nonce=nonce.clone() />
                <link rel="preload" href=wasm r#as="fetch" r#type="application/wasm" crossorigin="anonymous" />
                <script type="module" nonce=nonce>
                    {start}
                </script>
                <AutoReload options />
                <MetaTags />
            </head>
            <body>
                <App />
            </body>
        </html>
    }
}

#[cfg(feature = "ssr")]
pub(crate) mod policy {
    use http::{HeaderValue, header::CONTENT_SECURITY_POLICY};
    use leptos::{nonce::Nonce, prelude::*};
    use leptos_axum::ResponseOptions;

    /// The reload script of a development build listens on a web socket of another port.
    const RELOAD: &str = if cfg!(debug_assertions) { " ws:" } else { "" };

    pub fn send(nonce: Option<&Nonce>) {
        let (Some(nonce), Some(response)) = (nonce, use_context::<ResponseOptions>()) else { return };
        let policy = format!(
            "default-src 'self'; script-src 'nonce-{nonce}' 'strict-dynamic' 'wasm-unsafe-eval'; \
             style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; font-src 'self'; connect-src 'self'{RELOAD}; \
             object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
        );
        // A nonce is base64, which every header value may hold.
        if let Ok(value) = HeaderValue::from_str(&policy) {
            response.insert_header(CONTENT_SECURITY_POLICY, value);
        }
    }
}
