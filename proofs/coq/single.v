(* 1 x 1 matrices: every norm is the modulus of the entry; counterexamples of one neuron are evaluated here. *)
From dlinear Require Export evaluation.
From dlinear Require Export real_matrices.

Definition entry (x : reals 0) : R := ent 0 x 0 0.
Definition single (a : R) : reals 0 := mk 0 (fun _ _ => a).
Lemma entry_single a : entry (single a) = a. Proof. apply (ent_mk 0); lia. Qed.
Lemma entry_one : entry mone = 1. Proof. unfold entry; change (@mone (reals 0)) with (one 0); unfold one; now rewrite ent_mk by lia. Qed.
Lemma entry_plus (x y : reals 0) : entry (x + y)%M = entry x + entry y.
Proof. unfold entry; change (x + y)%M with (plus 0 x y); unfold plus; now rewrite ent_mk by lia. Qed.
Lemma entry_scale a (x : reals 0) : entry (a *: x)%M = a * entry x.
Proof. unfold entry; change (a *: x)%M with (scal 0 a x); unfold scal; now rewrite ent_mk by lia. Qed.
Lemma entry_tsp (x : reals 0) : entry (tsp x) = entry x.
Proof. unfold entry; change (tsp x) with (flipm 0 x); unfold flipm; now rewrite ent_mk by lia. Qed.
Lemma entry_prod (x y : reals 0) : entry (x * y)%M = entry x * entry y.
Proof. unfold entry; change (x * y)%M with (prod 0 x y); rewrite prod_ent by lia; simpl; ring. Qed.
Lemma ip_single (x y : reals 0) : ip x y = entry x * entry y.
Proof. transitivity (0 + entry (tsp x * y)%M); [reflexivity|]; rewrite entry_prod, entry_tsp; ring. Qed.
Lemma frob_single (x : reals 0) : frob 0 x = Rabs (entry x).
Proof. unfold frob; rewrite ip_single; apply sqrt_Rsqr_abs. Qed.
Lemma len_single v : len 0 v = Rabs (v 0%nat).
Proof. unfold len, dot; simpl; rewrite Rplus_0_l; apply sqrt_Rsqr_abs. Qed.
Lemma app_single (x : reals 0) v : len 0 (app 0 x v) = Rabs (entry x) * len 0 v.
Proof. rewrite !len_single, <- Rabs_mult; f_equal; unfold app, entry; simpl; ring. Qed.
Lemma spec_single (x : reals 0) : spec 0 x = Rabs (entry x).
Proof.
  apply Rle_antisym.
  - apply spec_le; [apply Rabs_pos|]; intros v; rewrite app_single; lra.
  - pose proof (spec_app 0 x (unit 0)) as H; rewrite app_single, unit_len in H by lia; lra.
Qed.
Lemma least_single (x : reals 0) : least 0 x = Rabs (entry x).
Proof.
  apply Rle_antisym.
  - pose proof (least_app 0 x (unit 0)) as H; rewrite app_single, unit_len in H by lia; lra.
  - apply least_ge; intros v; rewrite app_single; lra.
Qed.
Lemma equal_single (x y : reals 0) : entry x = entry y -> x = y.
Proof. intros H; apply mat_eq; intros i j Hi Hj; replace i with 0%nat by lia; replace j with 0%nat by lia; exact H. Qed.

Ltac windows :=
  repeat match goal with
  | |- context [@window ?M ?D ?a ?b] =>
      let k := eval vm_compute in (Z.to_nat (b - a)) in change (@window M D a b) with (@window_nat M D a k)
  end;
  cbn [window_nat].
Ltac layers :=
  repeat match goal with
  | |- context [Z.eqb ?a ?b] =>
      let v := eval vm_compute in (Z.eqb a b) in
      lazymatch v with true => idtac | false => idtac end; change (Z.eqb a b) with v
  end;
  cbv iota.
Ltac entries_of_one :=
  rewrite ?frob_single, ?spec_single, ?least_single, ?ip_single;
  repeat first [rewrite entry_prod | rewrite entry_plus | rewrite entry_scale | rewrite entry_tsp
               | rewrite entry_one | rewrite entry_single].
Ltac moduli := repeat match goal with |- context [Rabs ?x] => unfold Rabs at 1; destruct (Rcase_abs x) end.
Ltac decided :=
  cbv beta;
  repeat match goal with
  | |- context [if Rle_dec ?a ?b then _ else _] =>
      let decision := fresh "decision" in
      destruct (Rle_dec a b) as [decision|decision];
      [try (exfalso; revert decision; push; lra) | try (exfalso; apply decision; push; lra)]
  end.
Ltac evaluate_single :=
  lazymatch goal with
  | |- forall t : Z, _ =>
      intros t; entries_of_one; cbv beta;
      repeat match goal with |- context [Z.eqb t ?b] => destruct (Z.eqb t b) end; moduli; lra
  | _ => whole_sums; windows; decided; entries_of_one; cbv beta; layers; rewrite ?sqrt_1; first [evaluate | moduli; try lra; evaluate]
  end.
