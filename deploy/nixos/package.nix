# The binary with the site in it. What cargo-leptos does elsewhere is done step by step: a build of Nix reaches no network.
{ lib, pkgs, rustPlatform, importNpmLock, lld, nodejs, wasm-bindgen-cli, binaryen, cargo-leptos, src }:

let
  version = (lib.importTOML (src + "/Cargo.toml")).workspace.package.version;

  # The program and the library that it reads the output of have to be of one version, the one in Cargo.lock.
  crates = (lib.importTOML (src + "/Cargo.lock")).package;
  bindgenVersion = (lib.findFirst (crate: crate.name == "wasm-bindgen") null crates).version;
  bindgen = pkgs."wasm-bindgen-cli_${builtins.replaceStrings [ "." ] [ "_" ] bindgenVersion}" or wasm-bindgen-cli;

  # Each package by the hash that package-lock.json has of it. Where it comes from is not said there, since npm asks whatever registry it
  # is told of; Nix needs an address.
  packageLock =
    let
      lock = lib.importJSON (src + "/package-lock.json");
      resolved = place: module:
        let
          name = module.name or (lib.last (lib.splitString "node_modules/" place));
        in
        if place == "" || module ? resolved then module
        else module // { resolved = "https://registry.npmjs.org/${name}/-/${baseNameOf name}-${module.version}.tgz"; };
    in
    lock // { packages = builtins.mapAttrs resolved lock.packages; };
  nodeModules = importNpmLock.buildNodeModules { npmRoot = src; inherit nodejs packageLock; };
in
assert lib.assertMsg (bindgen.version == bindgenVersion)
  "wasm-bindgen-cli is ${bindgen.version} here, and Cargo.lock has ${bindgenVersion}: override wasm-bindgen-cli with that version";
rustPlatform.buildRustPackage {
  pname = "iglu";
  inherit version src;
  cargoLock.lockFile = src + "/Cargo.lock";
  nativeBuildInputs = [ cargo-leptos bindgen binaryen lld nodejs ];
  preBuild = ''
    ln -s ${nodeModules}/node_modules node_modules
    export PATH=$PWD/node_modules/.bin:$PATH
  '';
  # The Makefile names a shell that is not there in a build.
  buildPhase = ''
    runHook preBuild
    make SHELL="$SHELL" target/site/.release
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
