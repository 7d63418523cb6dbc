# Derivations with what is rare but allowed: several outputs, outputs named by their content, logs, names with signs that
# mean something in a URL, debug information, a file larger than any buffer. `tag` makes the same shapes with other hashes.
{ system ? builtins.currentSystem, tag ? "one" }:
let
  build = name: script: extra: derivation ({
    name = "${name}-${tag}";
    inherit system;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-euc" script ];
  } // extra);
in
rec {
  # `out` needs `dev`, and nothing needs `doc`.
  several = build "several" ''
    mkdir $out $dev $doc
    echo "look into $dev" > $out/where
    echo "int about_${tag}(void);" > $dev/one.h
    echo "about ${tag}" > $doc/readme
  '' { outputs = [ "out" "dev" "doc" ]; };

  talking = build "talking" ''
    echo "first line of ${tag}"
    echo "last line of ${tag}"
    echo "spoken" > $out
  '' { };

  silent = build "silent" ''
    echo "nothing said" > $out
  '' { };

  odd = build "q?x=1+y" ''
    echo "an odd name: ${tag}"
    mkdir $out
    echo "I am $out" > $out/self
  '' { };

  # Named by their content, one on top of the other.
  addressed = build "addressed" ''
    mkdir $out
    echo "content of ${tag}" > $out/content
  '' content;
  above = build "above" ''
    echo "above ${addressed}" > $out
  '' content;
  content = { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; };

  # The build id is made from the tag: 40 hex digits, of which two are the folder.
  buildId = builtins.hashString "sha1" tag;
  debug = build "debug" ''
    folder=$out/lib/debug/.build-id/${builtins.substring 0 2 buildId}
    mkdir -p $folder
    echo "debug information of ${tag}" > $folder/${builtins.substring 2 38 buildId}.debug
  '' { };

  bulky = build "bulky" ''
    head -c 24000000 /dev/zero > $out
  '' { };
}
