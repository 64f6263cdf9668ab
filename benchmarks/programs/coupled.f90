! SPDX-License-Identifier: Apache-2.0
!> A host that couples one network through the plugin, its inputs bound as one array or as eight.
!!
!! Arguments: the coupling file, cells, levels of all inputs, levels of all outputs, and how the inputs are bound:
!! `one32` (one real32 array, levels first), `eight32` or `eight64` (eight arrays, cells first, in per cent).
!! Answers each number of steps on standard input with the seconds of processor time and of the clock that they took.
program coupled
   use, intrinsic :: iso_fortran_env, only: int64, output_unit, real32, real64
   use coupler_plugin, only: coupler_t
   implicit none

   type(coupler_t) :: coupler
   character(len=512) :: config, text(4)
   character(len=1) :: digit
   real(real32), allocatable, target :: single(:, :), single_fields(:, :, :), single_answers(:, :)
   real(real64), allocatable, target :: double_fields(:, :, :), double_answers(:, :)
   real(real64), allocatable :: centre(:)
   real(real64) :: begin, end
   integer(int64) :: ticks(2), rate
   integer :: cells, levels, answers, i, steps, status

   call get_command_argument(1, config)
   do i = 1, 4
      call get_command_argument(1 + i, text(i))
   end do
   read (text(1), *) cells
   read (text(2), *) levels
   read (text(3), *) answers
   allocate (centre(cells), source=0.0_real64)

   call coupler%init(trim(config), start='2001-01-01', dt=60.0_real64)
   call coupler%set_cells([(i, i=1, cells)], centre, centre)
   select case (text(4))
   case ('one32')
      allocate (single(levels, cells), source=1.0_real32)
      allocate (single_answers(answers, cells), source=0.0_real32)
      call coupler%bind('features', single)
      call coupler%bind('answers', single_answers)
   case ('eight32')
      allocate (single_fields(cells, levels/8, 8), source=100.0_real32)
      allocate (single_answers(cells, answers), source=0.0_real32)
      do i = 1, 8
         write (digit, '(i1)') i
         call coupler%bind('feature'//digit, single_fields(:, :, i), '%')
      end do
      call coupler%bind('answers', single_answers)
   case ('eight64')
      allocate (double_fields(cells, levels/8, 8), source=100.0_real64)
      allocate (double_answers(cells, answers), source=0.0_real64)
      do i = 1, 8
         write (digit, '(i1)') i
         call coupler%bind('feature'//digit, double_fields(:, :, i), '%')
      end do
      call coupler%bind('answers', double_answers)
   end select

   do
      read (*, *, iostat=status) steps
      if (status /= 0) exit
      call system_clock(ticks(1), rate)
      call cpu_time(begin)
      do i = 1, steps
         call coupler%step()
      end do
      call cpu_time(end)
      call system_clock(ticks(2))
      write (output_unit, '(2es23.15)') end - begin, real(ticks(2) - ticks(1), real64)/real(rate, real64)
      flush (output_unit)
   end do
   call coupler%finalize()
end program coupled
