# The binary with the site in it. What cargo-leptos does elsewhere is done step by step: a build of Nix reaches no network.
{ lib, rustPlatform, importNpmLock, lld, nodejs, wasm-bindgen-cli, binaryen, cargo-leptos, src }:

let
  version = (lib.importTOML (src + "/Cargo.toml")).workspace.package.version;
  # Each package by the hash that package-lock.json has of it.
  nodeModules = importNpmLock.buildNodeModules { npmRoot = src; inherit nodejs; };
in
rustPlatform.buildRustPackage {
  pname = "iglu";
  inherit version src;
  cargoLock.lockFile = src + "/Cargo.lock";
  nativeBuildInputs = [ cargo-leptos wasm-bindgen-cli binaryen lld nodejs ];
  preBuild = ''
    ln -s ${nodeModules}/node_modules node_modules
    export PATH=$PWD/node_modules/.bin:$PATH
  '';
  buildPhase = ''
    runHook preBuild
    make target/site/.release
    cargo build --release --frozen -p iglu-server --features embed
    runHook postBuild
  '';
  installPhase = "install -D target/release/iglu $out/bin/iglu";
  # The tests drive browsers, databases and Nix itself; `make test` runs them.
  doCheck = false;
  meta = {
    description = "A self-hosted Nix binary cache";
    license = lib.licenses.asl20;
    mainProgram = "iglu";
    platforms = lib.platforms.linux;
  };
}
