"""What a person holds in her hands: experiments, samplers, trained runs and their folders."""
