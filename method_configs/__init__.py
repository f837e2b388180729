"""The nerfstudio methods of this package, installed as `bridge_nerf.method_configs`."""
