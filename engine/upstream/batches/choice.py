"""Owns which provider's batches a configuration means: by address and mode, unless the person has said."""

from __future__ import annotations

from engine.config import ApiConfig, ApiMode, BatchProvider
from engine.errors import Code, InvalidInput
from engine.upstream.batches.gemini import Gemini
from engine.upstream.batches.openai import OpenAI
from engine.upstream.batches.steps import Driver, Place
from engine.upstream.batches.xai import XAI, is_xai


def driver_of(provider: BatchProvider) -> Driver:
    """How that provider is spoken with."""
    match provider:
        case BatchProvider.GEMINI:
            return Gemini()
        case BatchProvider.XAI:
            return XAI()
    return OpenAI()


def batch_driver(config: ApiConfig) -> tuple[Driver, Place] | None:
    """The driver for this configuration and where its batches are; None where there are none."""
    provider = config.batch_provider
    if provider is BatchProvider.AUTO:
        provider = BatchProvider.GEMINI if config.mode is ApiMode.RECIPE else BatchProvider.OPENAI
        if is_xai(config.api_url):
            provider = BatchProvider.XAI
    driver = driver_of(provider)
    place = driver.place(config)
    return None if place is None else (driver, place)


def needed_driver(config: ApiConfig) -> tuple[Driver, Place]:
    """The same; InvalidInput(BATCH_UNSUPPORTED) where there are none."""
    found = batch_driver(config)
    if found is None:
        chosen = config.batch_provider is not BatchProvider.AUTO
        raise InvalidInput(
            Code.BATCH_UNSUPPORTED,
            field="batch_provider" if chosen else "delivery",
            provider=config.batch_provider.value,
            mode=config.mode.value,
        )
    return found
