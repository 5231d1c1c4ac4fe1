"""What the service is made of and set up with: encoder, engine, TLS, tokens, and what browsers will allow."""

import contextlib
import time
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from ipaddress import ip_address

from musetalk_service.config import Settings
from musetalk_service.doctor.finding import Finding
from musetalk_service.errors import ConfigurationError
from musetalk_service.models.media import BASE_SIZE, FPS, HEIGHT, SAMPLE_RATE, SAMPLES_PER_FRAME, WIDTH, ClipPosition

_FRAME_MS = 40.0
_EXPIRES_SOON = timedelta(days=14)


def check_h264(_: Settings) -> Finding:
    """A picture goes through encoder and decoder and comes out as it was."""
    import av
    import numpy as np

    encoder = av.CodecContext.create("libx264", "w")
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(encoder, av.VideoCodecContext)
    assert isinstance(decoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(FPS), Fraction(1, FPS)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    ramp = np.linspace(16, 240, WIDTH, dtype=np.uint8)
    picture = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (HEIGHT, WIDTH, 3)))
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
    frame.pts = 0
    start = time.perf_counter()
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    ms = (time.perf_counter() - start) * 1000
    unit = b"".join(bytes(packet) for packet in packets)
    decoded = [*decoder.decode(av.Packet(unit)), *decoder.decode(None)]
    if not decoded or np.abs(decoded[0].to_ndarray(format="bgr24").astype(float) - picture).mean() > 8:
        return Finding("H.264", "problem", "a frame of libx264 does not decode", "pip install --force-reinstall av")
    return Finding("H.264", "ok", f"libx264 (PyAV {av.__version__}) encodes and decodes; first frame {ms:.1f} ms")


def check_tls(settings: Settings) -> Finding:
    from musetalk_service.utils.certificates import check_key_pair, read_certificate

    if settings.tls_certfile is None or settings.tls_keyfile is None:
        return Finding("TLS", "ok", "off; the service speaks http and ws")
    try:
        check_key_pair(settings.tls_certfile, settings.tls_keyfile)
    except ConfigurationError as error:
        return Finding("TLS", "problem", str(error), "correct both paths, or take both settings away")
    certificate = read_certificate(settings.tls_certfile)
    now = datetime.now(timezone.utc)
    found = f"for {', '.join(certificate.names) or 'no name'}; expires {certificate.expires:%Y-%m-%d}"
    if not certificate.begins <= now <= certificate.expires:
        return Finding("TLS", "warning", f"{found}: not valid today", "renew the certificate; clients will refuse it")
    if certificate.expires - now < _EXPIRES_SOON:
        return Finding("TLS", "warning", found, "renew the certificate soon")
    if certificate.self_signed:
        return Finding("TLS", "ok", f"{found}; self-signed: browsers warn once")
    return Finding("TLS", "ok", found)


def check_browsers(settings: Settings) -> Finding:
    """Microphone and WebCodecs want a secure context: https, or localhost (W3C Secure Contexts)."""
    if settings.tls_certfile is not None:
        return Finding("browsers", "ok", "https: microphone and video work from every machine")
    if _is_loopback(settings.host):
        return Finding("browsers", "ok", "on this machine only, where http is secure enough for microphone and video")
    return Finding(
        "browsers",
        "warning",
        "over http the page has microphone and video decoder on this machine only (http://localhost)",
        "for other machines: make run-tls, TLS_CERTFILE and TLS_KEYFILE, or an https proxy (docs/deployment.md)",
    )


def check_tokens(settings: Settings) -> Finding:
    from musetalk_service.services import key_sets
    from musetalk_service.services.authentication import Authenticator

    secret = settings.auth_secret
    try:
        authenticator = Authenticator(
            secret=secret.get_secret_value() if secret is not None else None,
            jwks=settings.auth_jwks,
            jwks_max_age_s=settings.auth_jwks_max_age_s,
        )
    except ConfigurationError as error:
        return Finding("tokens", "problem", str(error), "correct AUTH_JWKS")
    if settings.auth_jwks is not None and key_sets.is_fetchable(settings.auth_jwks):
        try:
            key_sets.fetch_key_set(settings.auth_jwks)
        except key_sets.FAILURES as error:
            advice = "until the key set can be fetched, tokens signed by its keys are refused"
            return Finding("tokens", "warning", f"{settings.auth_jwks} gives no keys: {error}", advice)
    if authenticator.enabled:
        kinds = [name for name, given in (("AUTH_SECRET", secret), ("AUTH_JWKS", settings.auth_jwks)) if given]
        return Finding("tokens", "ok", f"clients need one ({' and '.join(kinds)})")
    if _is_loopback(settings.host):
        return Finding("tokens", "ok", "not asked for; only this machine reaches the service")
    advice = "where that is too open: AUTH_SECRET or AUTH_JWKS (docs/deployment.md)"
    return Finding("tokens", "warning", "not asked for: who reaches the port may use the service", advice)


def check_engine(settings: Settings) -> Finding:
    """The built-in engine's weights load, and a speaking frame is drawn; says how long one takes."""
    import cv2
    import numpy as np

    from musetalk_service.engines.avatar import load_default_avatar
    from musetalk_service.engines.base import FrameRequest
    from musetalk_service.engines.builtin.network import load_network
    from musetalk_service.engines.registry import load_engines
    from musetalk_service.engines.voice import Voice
    from musetalk_service.models.clips import DEFAULT_CLIP
    from musetalk_service.utils.i420 import size_of

    cv2.setNumThreads(1)  # as in an engine host
    engine = load_engines(["builtin"])["builtin"]
    avatar = load_default_avatar()
    stream = engine.open(avatar, BASE_SIZE)
    voice = Voice(load_network())
    tone = 6000 * np.sin(2 * np.pi * 150 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    voice.push(tone.astype(np.int16), 0)
    times = []
    picture = None
    for index in range(12):
        place = ClipPosition(DEFAULT_CLIP, index)
        position = index * SAMPLES_PER_FRAME
        start = time.perf_counter()
        mouth = voice.hear(position).mouth
        (picture,) = engine.render([FrameRequest(stream, place, avatar.pose(place), mouth, position)])
        times.append((time.perf_counter() - start) * 1000)
    if picture is None or size_of(picture) != avatar.portrait.shape[1::-1] or float(picture.std()) < 1:
        return Finding("engine", "problem", "the built-in engine draws no face", "install again: pip install -e .")
    ms = sorted(times)[len(times) // 2]
    found = f"built-in {engine.info.version} draws a frame in {ms:.1f} ms (first {times[0]:.0f} ms)"
    if ms > _FRAME_MS / 2:
        return Finding("engine", "warning", found, "this processor is slow or busy: expect one session for each core")
    return Finding("engine", "ok", f"{found}, of {_FRAME_MS:.0f} ms that it may take")


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
