{
  description = "Iglu, a self-hosted Nix binary cache";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: builtins.listToAttrs (map (name: { inherit name; value = make nixpkgs.legacyPackages.${name}; }) systems);
      package = pkgs: pkgs.callPackage ./deploy/nixos/package.nix { src = self; };
    in
    {
      packages = each (pkgs: { default = package pkgs; iglu = package pkgs; });
      overlays.default = final: _: { iglu = package final; };
      nixosModules.default = { pkgs, ... }: {
        imports = [ ./deploy/nixos/module.nix ];
        services.iglu.package = nixpkgs.lib.mkDefault (package pkgs);
      };
      checks = each (pkgs: {
        nixos = import ./deploy/nixos/test.nix { inherit pkgs; module = self.nixosModules.default; };
      });
    };
}
