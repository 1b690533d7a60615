"""The codec of a line, with the model that its file names, if that model may be used there. It encodes nothing."""

from inspect_compress.codecs import Codec, load_codec
from inspect_compress.models.registry import check_admitted
from pipelines.config import LineConfig


def line_codec(config: LineConfig) -> Codec:
    """The codec of `[compress]`. Raises ConfigError, and ModelError unless the model is admitted to the line.

    It has to be admitted at every quality that the file asks for.
    """
    settings, rules, flow = config.compress, config.policy, config.flow
    codec = load_codec(settings.codec, model=settings.model)
    asked = [settings.quality, rules.suspect, rules.good, *rules.products.values()]
    if flow.when_full == "degrade" and flow.degrade_codec in (None, settings.codec):
        asked.append(flow.degrade_to)
    if settings.model:
        check_admitted(codec.model, min(quality for quality in asked if isinstance(quality, int)))
    return codec
