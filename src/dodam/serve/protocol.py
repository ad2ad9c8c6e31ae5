"""The requests and errors of the OpenAI API. Bodies come in and are checked; `reply.py` makes the answers.

What would change the answer but is not supported is refused with a clear message; what is harmless is accepted.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from dodam.data.text import clean
from dodam.generate.sequence import SamplingParams

MAX_CHOICES = 16
MAX_STOPS = 4
INT64 = 1 << 63

TokenId = Annotated[int, Field(ge=0, strict=True)]


class APIError(Exception):
    """An error that a client sees: HTTP status and OpenAI's error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def unsupported(param: str, why: str = "is not supported by this server") -> APIError:
    return APIError(400, f"`{param}` {why}.", code="unsupported_parameter", param=param)


class TextPart(BaseModel):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    def plain(self) -> dict[str, str]:
        """As sft learned it; `developer` is OpenAI's newer name for `system`."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": clean(text)}


class StreamOptions(BaseModel):
    """What a streamed answer carries besides text."""

    include_usage: bool = False


class Completion(BaseModel):
    """What both kinds of request share. Values left out, or null, take the server's defaults."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, lt=INT64)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    seed: int | None = Field(None, ge=-INT64, lt=INT64)
    stop: str | list[str] | None = None

    @field_validator("stop")
    @classmethod
    def check_stop(cls, stop: str | list[str] | None) -> str | list[str] | None:
        texts = [stop] if isinstance(stop, str) else stop or []
        if len(texts) > MAX_STOPS or not all(1 <= len(text) <= 1000 for text in texts):
            raise ValueError(f"must be at most {MAX_STOPS} texts of 1 to 1000 characters")
        return stop

    @model_validator(mode="before")
    @classmethod
    def refuse_unsupported(cls, body: Any) -> Any:
        """APIError for a field that we do not know how to follow, unless it asks for nothing."""
        if isinstance(body, dict):
            for name, idle in UNSUPPORTED.items():
                if body.get(name) not in (None, *idle):
                    raise unsupported(name)
        return body

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


# Fields that would change the answer, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"], []),
    "audio": (),
    "response_format": ({"type": "text"},),
    "prediction": (),
    "web_search_options": (),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}


class ChatCompletion(Completion):
    """The body of /v1/chat/completions."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def num_logprobs(self) -> int | None:
        """How many likeliest tokens to report beside the chosen one; None for no report."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def most_tokens(self) -> int | None:
        """`max_completion_tokens` is OpenAI's newer name for `max_tokens`."""
        return self.max_completion_tokens or self.max_tokens


class TextCompletion(Completion):
    """The body of /v1/completions."""

    prompt: str | list[str] | list[TokenId] | list[list[TokenId]]
    logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def most_tokens(self) -> int | None:
        return self.max_tokens

    @property
    def prompts(self) -> list[str | list[int]]:
        """One entry per prompt, as text or as ids."""
        if isinstance(self.prompt, list) and not (self.prompt and isinstance(self.prompt[0], int)):
            return list(self.prompt)  # type: ignore[arg-type]
        return [self.prompt]  # type: ignore[list-item]


def sampling_params(body: ChatCompletion | TextCompletion, defaults: SamplingParams, choice: int) -> SamplingParams:
    """The request's parameters over the server's defaults; every choice has a seed of its own."""

    def given(name: str) -> Any:
        value = getattr(body, name)
        return getattr(defaults, name) if value is None else value

    return SamplingParams(
        max_tokens=min(body.most_tokens or defaults.max_tokens, defaults.max_tokens),
        temperature=given("temperature"),
        top_k=given("top_k"),
        top_p=given("top_p"),
        min_p=given("min_p"),
        repetition_penalty=given("repetition_penalty"),
        stop=body.stops,
        seed=None if body.seed is None else body.seed + choice,
        logprobs=body.num_logprobs,
    )
