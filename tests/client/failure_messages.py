"""What failed generations have been seen to say, and what each says of the input. Shortened where it changes nothing.

Where they come from: Google's pages on Veo and its support codes, public issues and the tests and logs of public code
that calls Veo directly or through relays (new-api and its kin, Flow), and the fixtures of section 10 of the contract.
"""

# ruff: noqa: RUF001 - other languages have other punctuation.
from __future__ import annotations

AUDIO = (
    "We encountered an issue with the audio for your prompt, which means we could not create your video. This can "
    "sometimes happen due to our safety filters or other processing issues. Please modify your request and try again. "
    "You have not been charged for this attempt."
)

#: Refusals of the prompt or of an image.
REFUSED = (
    "Sorry, we can't create videos with real people's names or likenesses. Please remove the celebrity reference and "
    "try again.",
    "Sorry, we can’t create videos from input images containing celebrity or their likenesses. Support codes: 15236754",
    "Sorry, we can't create videos with real people's names or likenesses",
    "HTTP 400 content_blocked: Sorry, we can't create videos with real people's names or likenesses",
    "Veo could not generate 1 videos based on the prompt provided. You will not be charged for this request. Try "
    "rephrasing the prompt. If you think this was an error, send feedback. Support codes: 42237218",
    "Vertex Veo operation completed without videos. Filtered count: 1. Reasons: Veo could not generate 1 videos based "
    "on the prompt provided. Try rephrasing the prompt. Support codes: 42237218",
    "Try rephrasing the prompt. Support codes: 42237218",
    "Veo could not generate videos because the input image violates Vertex AI's usage guidelines. If you think this "
    "was an error, send feedback. Support codes: 15236754",
    "Veo could not generate videos because the input image violates Agent Platform's usage guidelines. Support codes: "
    "**15236754**",
    "Veo could not generate the video because the input image violates Vertex AI usage guidelines. Support code: "
    "15236754.",
    "Veo could not generate videos because the input image violates Google's Responsible AI practices.",
    "The prompt could not be submitted. This prompt contains sensitive words that violate Google's Responsible AI "
    "practices. Try rephrasing your prompt, or contact your Google representative to request allowlisting. Support "
    "codes: 58061214",
    "The prompt couldn't be submitted; it might violate our policies. Support codes: 42237218",
    "This prompt contains words that violate Vertex AI's usage guidelines.",
    "Content blocked. Support codes: 58061214",
    "58061214",
    "Content blocked (58061214)",
    "PROHIBITED_CONTENT",
    "We could not make this video. Try rephrasing and submit it again.",
    "Content blocked: Your prompt was flagged by Google's safety filters. Please try a different prompt.",
    "Your prompt was flagged by Website as violating content policies.",
    "Your request was rejected by the safety system.",
    "Your request was rejected as a result of our safety system. content_policy_violation",
    "TaskRejectedError: Content policy violation",
    "The prompt violates our content policy",
    "The input image was blocked by safety review",
    "request blocked by safety review",
    "content rejected",
    "the content was refused: content_rejected",
    "last error: PUBLIC_ERROR_UNSAFE_GENERATION",
    "RpcError: Request contains an invalid argument. [PUBLIC_ERROR_UNSAFE_GENERATION]",
    "PUBLIC_ERROR_PROMINENT_PEOPLE_FILTER_FAILED",
    "PUBLIC_ERROR_PROMINENT_PEOPLE_UPLOAD: detected named individual",
    "PUBLIC_ERROR_MINOR_UPLOAD",
    "The input image contains a real person.",
    "Sorry, I can't help generate videos that feature children. Please try another prompt.",
    "The text was not accepted: it contains sensitive words",
    "moderation rejected the prompt",
    "The prompt was rejected",
    "Prompt blocked due to PROHIBITED_CONTENT",
    "Google doesn't allow generating videos with real people's names or likenesses.",
    "We are unable to create videos depicting children.",
    "The request failed because the input text may contain sensitive information.",
    "The request failed because the input image may be related to copyright restrictions.",
    "InputImageSensitiveContentDetected.PrivacyInformation",
    '{"error":{"code":3,"message":"The prompt could not be submitted. It might violate our policies."}}',
    "upstream said {'code': 3, 'message': \"Veo could not generate videos because the input image violates Vertex AI's "
    'usage guidelines. Support codes: 15236754"}',
    r'fail_reason: {"error":"{\"message\":\"This prompt violates our usage policies\"}"}',
    "\"Sorry, we can't create videos with real people's names or likenesses\"",
    'The words "a famous singer" violate Google\'s usage guidelines',
    "提示词包含敏感词，请修改后重试",
    "提示詞違反平台內容政策",
    "内容审核未通过",
    "输入图片未通过安全审核",
    "请求内容违反了谷歌的内容政策",
    "触发内容安全策略",
    "检测到敏感内容",
    "提示词不符合内容安全规范",
    "Die Anfrage wurde abgelehnt, weil sie gegen unsere Inhaltsrichtlinien verstößt",
    "Il prompt viola le linee guida sui contenuti",
    "图片中包含真人，无法生成",
    "当前请求涉嫌违规，请修改提示词",
    "无法生成包含真人或名人的视频",
    "プロンプトがコンテンツポリシーに違反しています",
    "콘텐츠 정책을 위반했습니다",
    "Запрос нарушает правила политики контента: нарушает политику",
    "O prompt viola as diretrizes de uso",
    "Nội dung vi phạm chính sách",
)

#: What passes, or is about what was made.
PASSING = (
    AUDIO,
    "We encountered an issue with the audio for your prompt. Support codes: 15236754",
    'raiMediaFilteredReasons: ["We encountered an issue with the audio for your prompt..."]',
    "PUBLIC_ERROR_AUDIO_FILTERED",
    "Audio generation failed: PUBLIC_ERROR_AUDIO_FILTERED",
    "The audio generated for your prompt was blocked by our safety filters. You were not charged.",
    "AUDIO_GENERATION_FILTERED",
    "OutputVideoSensitiveContentDetected",
    "Output flagged by content filter",
    "RAI_FILTERED: 1 video filtered",
    "Video generation failed: an issue with audio. Support codes: 15236754",
    "The output audio may be related to copyright restrictions",
    "The generated video was blocked because it may violate our usage guidelines. Support codes: 42237218",
    "All generated videos were filtered out because they violated Vertex AI's usage guidelines.",
    "Unable to show generated images. All images were filtered out because they violated Vertex AI's usage guidelines. "
    "Try rephrasing the prompt. Support codes: 39322892, 29310472",
    "The video was flagged by our safety system",
    "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
    "1 videos were filtered out because they violated Google's Responsible AI practices",
    "Moderation service timed out, please try again later",
    "content policy check unavailable",
    "safety review failed: internal error",
    "rate limit violated: too many concurrent tasks",
    "failed to fetch copyright metadata: timeout",
    "Rate limited: violates our usage policies of 5 requests a minute, too many requests",
    "The service is temporarily unavailable. Please try again.",
    "upstream timeout",
    "all channels failed, last error: timeout",
    "Deadline Exceeded",
    "429 RESOURCE_EXHAUSTED: Resource has been exhausted",
    "PUBLIC_ERROR_USER_REQUESTS_THROTTLED too many requests",
    "当前分组上游负载已饱和，请稍后再试",
    "内容审核服务超时，请稍后重试",
    "生成的视频未通过内容审核",
    "音频被过滤，请重试",
)

#: What says nothing of the input, in whatever words.
UNKNOWN = (
    None,
    "",
    "boom",
    "Veo generation failed",
    "No images found ... Prohibited Use Policy",
    "moderation",
    "copyright",
    "violation",
    "safety filter",
    "The prompt mentions minors and a public figure",
    "raiMediaFilteredCount: 1",
    "PUBLIC_ERROR_MINOR",
    "PUBLIC_ERROR_MODEL_ACCESS_DENIED",
    "fail_to_fetch_task: the model is no longer available",
    "no capacity",
    "Generation was stopped by a content policy check that could not be completed",
    "error: content moderation failed",
    "unable to wait for children of process 12",
    "your usage violates our terms of service",
    "敏感词检测失败",
    "任务失败",
    "内容审核失败",
    "task 58061214 failed",
    "could not read 29310472.png",
    # The user's own words, echoed.
    "Generation failed for prompt: a sign that says prompt violates our content policy",
    "worker crashed: model=veo3.1-fast, prompt=a monk who violates the usage guidelines of the house",
    'Task failed. Prompt: "This prompt violates our content policy, says a robot"',
    "Task failed for prompt 'content rejected'",
    'Task failed: "he shouts "blocked by safety review" twice"',
    "Task failed, prompt: “Support codes: 58061214”",
    "任务失败：「提示词违规，内容审核未通过」",
    '{"prompt": "a sign: content policy violation", "message": "worker crashed"}',
    r'{"message": "could not render \"the prompt could not be submitted\""}',
    'Task failed: "content rejected',
)
