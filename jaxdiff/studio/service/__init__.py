"""The studio's HTTP services: routes that clients of AUTOMATIC1111 and of ComfyUI know."""
