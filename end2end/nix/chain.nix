# Three store paths: top refers to mid, leaf and itself; mid refers to leaf. With symbolic links, an executable,
# an empty file, and something for the compressor to find. `tag` makes the same shape with other hashes.
{ system ? builtins.currentSystem, tag ? "one" }:
let
  build = name: script: derivation {
    name = "${name}-${tag}";
    inherit system;
    builder = "/bin/sh";
    PATH = "/usr/bin:/bin";
    args = [ "-euc" script ];
  };
in
rec {
  leaf = build "leaf" ''
    mkdir -p $out/bin $out/lib
    printf '#!/bin/sh\necho leaf ${tag}\n' > $out/bin/leaf
    chmod +x $out/bin/leaf
    echo "data ${tag}" > $out/lib/data
    : > $out/lib/empty
    ln -s ../lib/data $out/bin/data
    ln -s nowhere $out/dangling
  '';
  mid = build "mid" ''
    echo "stands on ${leaf}" > $out
  '';
  top = build "top" ''
    mkdir $out
    ln -s ${leaf}/bin/leaf $out/run
    cp ${mid} $out/middle
    ln -s ${mid} $out/mid
    echo "I am $out" > $out/self
    ln -s $out/self $out/same
    head -c 400000 /dev/zero > $out/zeros
    i=0; while [ $i -lt 500 ]; do echo "row $i of ${tag}"; i=$((i+1)); done > $out/rows
  '';
}
