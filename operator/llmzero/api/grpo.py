"""What GRPOConfig takes: every field of TRL 1.16 with its kind, and those that a stage owns.

A test compares the tables with the installed TRL; nothing here imports it.
"""

_INT = """
    data_seed dataloader_num_workers dataloader_prefetch_factor ddp_bucket_cap_mb ddp_timeout
    eval_accumulation_steps generation_batch_size gradient_accumulation_steps local_rank
    max_completion_length max_steps max_tool_calling_iterations num_completions_to_print
    num_generations num_generations_eval num_iterations per_device_eval_batch_size
    per_device_train_batch_size ref_model_sync_steps save_total_limit seed steps_per_generation
    top_k torch_empty_cache_steps vllm_group_port vllm_max_model_length vllm_server_port
    vllm_tensor_parallel_size
"""
_FLOAT = """
    adam_beta1 adam_beta2 adam_epsilon beta delta entropy_coef entropy_coef_delta entropy_coef_max
    entropy_coef_min entropy_target epsilon epsilon_high eval_delay eval_steps
    label_smoothing_factor learning_rate logging_steps max_grad_norm min_p neftune_noise_alpha
    num_train_epochs off_policy_mask_threshold ref_model_mixup_alpha repetition_penalty
    router_aux_loss_coef sapo_temperature_neg sapo_temperature_pos save_steps temperature
    top_entropy_quantile top_p vespo_k_neg vespo_k_pos vespo_lambda_neg vespo_lambda_pos
    vllm_gpu_memory_utilization vllm_importance_sampling_cap vllm_importance_sampling_clip_max
    vllm_importance_sampling_clip_min vllm_server_timeout warmup_steps weight_decay
"""
_BOOL = """
    activation_checkpointing auto_find_batch_size average_tokens_across_devices batch_eval_metrics
    bf16 bf16_full_eval cast_lm_head_to_fp32 dataloader_drop_last dataloader_in_order
    dataloader_persistent_workers dataloader_pin_memory ddp_broadcast_buffers
    ddp_find_unused_parameters ddp_static_graph disable_dropout disable_tqdm do_eval do_predict
    do_train ds3_gather_for_generation enable_jit_checkpoint eval_do_concat_batches eval_on_start
    eval_use_gather_object fp16 fp16_full_eval full_determinism gradient_checkpointing
    greater_is_better hub_always_push hub_private_repo ignore_data_skip load_best_model_at_end
    log_completions log_multimodal log_on_each_node log_unique_prompts logging_first_step
    logging_nan_inf_filter mask_truncated_completions prediction_loss_only push_to_hub
    remove_unused_columns restore_callback_states_from_checkpoint save_on_each_node save_only_model
    shuffle_dataset skip_memory_metrics sync_ref_model tf32 torch_compile trust_remote_code
    use_adaptive_entropy use_bias_correction_kl use_cache use_cpu use_liger_kernel
    use_transformers_continuous_batching use_transformers_paged use_vllm vllm_enable_sleep_mode
    vllm_importance_sampling_correction
"""
_STR = """
    cache_implementation dataloader_multiprocessing_context ddp_backend eval_strategy fsdp
    hub_model_id hub_revision hub_strategy hub_token importance_sampling_level include_for_metrics
    length_column_name log_completions_hub_repo log_level log_level_replica logging_strategy
    loss_type lr_scheduler_type metric_for_best_model multi_objective_aggregation optim optim_args
    output_dir project resume_from_checkpoint run_name save_strategy scale_rewards
    torch_compile_backend torch_compile_mode trackio_bucket_id trackio_space_id
    train_sampling_strategy vllm_importance_sampling_mode vllm_mode vllm_model_impl
    vllm_server_base_url vllm_server_host vllm_structured_outputs_regex
"""
_ANY = """
    accelerator_config activation_checkpointing_kwargs chat_template_kwargs debug deepspeed
    fsdp_config generation_kwargs gradient_checkpointing_kwargs include_num_input_tokens_seen
    label_names liger_kernel_config lr_scheduler_kwargs model_init_kwargs optim_target_modules
    pad_to_multiple_of parallelism_config report_to reward_weights trackio_static_space_id
    transformers_continuous_batching_config
"""
_NULLABLE = """
    accelerator_config activation_checkpointing activation_checkpointing_kwargs bf16
    cache_implementation chat_template_kwargs data_seed dataloader_multiprocessing_context
    dataloader_prefetch_factor ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb
    ddp_find_unused_parameters ddp_static_graph deepspeed delta disable_tqdm epsilon_high
    eval_accumulation_steps eval_steps fsdp fsdp_config generation_batch_size generation_kwargs
    gradient_checkpointing_kwargs greater_is_better hub_model_id hub_private_repo hub_revision
    hub_token label_names liger_kernel_config log_completions_hub_repo lr_scheduler_kwargs
    max_completion_length max_tool_calling_iterations metric_for_best_model min_p model_init_kwargs
    neftune_noise_alpha num_completions_to_print num_generations num_generations_eval
    off_policy_mask_threshold optim_args optim_target_modules output_dir pad_to_multiple_of
    parallelism_config remove_unused_columns report_to resume_from_checkpoint reward_weights
    router_aux_loss_coef run_name save_total_limit shuffle_dataset steps_per_generation tf32
    torch_compile_backend torch_compile_mode torch_empty_cache_steps trackio_bucket_id
    trackio_space_id trackio_static_space_id transformers_continuous_batching_config
    vllm_importance_sampling_cap vllm_importance_sampling_clip_max
    vllm_importance_sampling_clip_min vllm_max_model_length vllm_server_base_url
    vllm_structured_outputs_regex
"""

FIELDS: dict[str, str] = {
    name: kind
    for kind, names in (
        ("int", _INT),
        ("float", _FLOAT),
        ("bool", _BOOL),
        ("str", _STR),
        ("any", _ANY),
    )
    for name in names.split()
}
"""Field name to int, float, bool, str or any (lists, mappings, unions)."""
NULLABLE = frozenset(_NULLABLE.split()) - {"max_completion_length", "num_generations"}
"""Fields that take null (those two need a number here)."""

_LOOP = "the stage's length and rhythm come from spec.stage"
_BATCH = "it follows from spec.stage.promptsPerStep x num_generations"
OWNED: dict[str, str] = {
    "gradient_accumulation_steps": _BATCH,
    "steps_per_generation": _BATCH,
    "generation_batch_size": _BATCH,
    "per_device_eval_batch_size": "use spec.evaluation.batchSize",
    "num_generations_eval": "use spec.evaluation.samples",
    "auto_find_batch_size": "the trainer has its own out-of-memory ladder (and GRPO refuses it)",
    "max_steps": _LOOP,
    "num_train_epochs": _LOOP,
    "output_dir": "the stage's directory is given by the engine",
    "seed": "use spec.strategy.seed",
    "data_seed": "use spec.strategy.seed",
    "resume_from_checkpoint": "stages resume by themselves",
    "shuffle_dataset": "the order of prompts is one per search, so that siblings compare",
    "remove_unused_columns": "columns of the task reach the rewards",
    "bf16": "use spec.model.dtype",
    "fp16": "use spec.model.dtype",
    "use_cpu": "the device comes from the engine",
    "model_init_kwargs": "use spec.model",
    "trust_remote_code": "use spec.model.trustRemoteCode",
    "reward_weights": "use spec.task.rewards[].weight, or search rewards.<name>",
    "report_to": "metrics go to the stage's records",
    "push_to_hub": "checkpoints stay in the stage's directory",
    "do_train": _LOOP,
    "do_eval": _LOOP,
    "do_predict": _LOOP,
    "local_rank": "the launcher sets it",
    "load_best_model_at_end": "the search chooses the checkpoint",
    "enable_jit_checkpoint": "the trainer saves on SIGTERM itself",
}
"""Fields that the trainer sets, with what to use in their place."""
OWNED_PREFIXES = ("save_", "eval_", "logging_", "hub_")

GONE: dict[str, str] = {
    "warmup_ratio": "use warmup_steps: a value below 1 is a fraction",
    "max_prompt_length": "TRL 1.16 does not cut prompts: shorten them in the task",
    "use_liger_loss": "use use_liger_kernel",
    "save_safetensors": "checkpoints are always safetensors",
}
"""Names that older releases had."""


def owned(name: str) -> str | None:
    """Why a field cannot be given, or None."""
    if name in OWNED:
        return OWNED[name]
    if name in FIELDS and name.startswith(OWNED_PREFIXES):
        return _LOOP
    return None
